//! An etcd that wants TLS, a client certificate, and a user.

use std::{fs, path::Path, process::Command, time::Duration};

use maestro_registry::{Credentials, EtcdConfig, EtcdRegistry, EtcdTls};
use maestro_tests::{Process, binary, start_etcd_with};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

const USER: &str = "maestro";
const PASSWORD: &str = "a password of the test";

/// Writes an authority and one certificate of it, which server and clients show.
fn write_certificates(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).unwrap();
    fs::write(folder.join("ca.crt"), certificate.pem()).unwrap();
    let issuer = Issuer::new(authority, key);

    let key = KeyPair::generate().unwrap();
    let names = ["127.0.0.1".to_owned(), "etcd.test".to_owned()];
    let member = CertificateParams::new(names).unwrap();
    let certificate = member.signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}

fn etcdctl(folder: &Path, url: &str, arguments: &[&str]) -> bool {
    let file = |name: &str| folder.join(name);
    let status = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", url])
        .arg("--cacert")
        .arg(file("ca.crt"))
        .arg("--cert")
        .arg(file("tls.crt"))
        .arg("--key")
        .arg(file("tls.key"))
        .args(arguments)
        .output()
        .unwrap()
        .status;
    status.success()
}

fn start(folder: &Path) -> (Process, String) {
    write_certificates(folder);
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (ca, certificate, key) = (file("ca.crt"), file("tls.crt"), file("tls.key"));
    let arguments = [
        "--client-cert-auth",
        "--trusted-ca-file",
        &ca,
        "--cert-file",
        &certificate,
        "--key-file",
        &key,
    ];
    let (etcd, url) = start_etcd_with(folder, "https", &arguments).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while !etcdctl(folder, &url, &["endpoint", "health"]) {
        assert!(std::time::Instant::now() < until, "{}", etcd.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let root = format!("root:{PASSWORD}");
    let user = format!("{USER}:{PASSWORD}");
    for arguments in [
        &["user", "add", &root][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "registry"],
        &[
            "role",
            "grant-permission",
            "registry",
            "readwrite",
            "--prefix",
            "/maestro/v1/",
        ],
        &["user", "add", &user],
        &["user", "grant-role", USER, "registry"],
        &["auth", "enable"],
    ] {
        assert!(etcdctl(folder, &url, arguments), "{arguments:?}");
    }
    (etcd, url)
}

fn config(folder: &Path, url: &str) -> EtcdConfig {
    EtcdConfig {
        user: Some(Credentials {
            name: USER.to_owned(),
            password: PASSWORD.to_owned(),
        }),
        tls: Some(EtcdTls {
            ca_file: Some(folder.join("ca.crt")),
            cert_file: Some(folder.join("tls.crt")),
            key_file: Some(folder.join("tls.key")),
            server_name: None,
        }),
        ..EtcdConfig::new([url])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_reached_over_tls_as_a_user_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let (_etcd, url) = start(folder.path());
    let good = config(folder.path(), &url);
    EtcdRegistry::connect(good.clone()).await.unwrap();

    let with_tls = |change: &dyn Fn(&mut EtcdTls)| {
        let mut bad = good.clone();
        bad.connect_timeout_ms = 1000;
        change(bad.tls.as_mut().unwrap());
        bad
    };
    let by_name = with_tls(&|tls| tls.server_name = Some("etcd.test".to_owned()));
    EtcdRegistry::connect(by_name).await.unwrap();
    let stranger = with_tls(&|tls| {
        (tls.cert_file, tls.key_file) = (None, None);
    });
    assert!(EtcdRegistry::connect(stranger).await.is_err());
    let unknown_authority = with_tls(&|tls| tls.ca_file = None);
    assert!(EtcdRegistry::connect(unknown_authority).await.is_err());
    let other_name = with_tls(&|tls| tls.server_name = Some("other.test".to_owned()));
    assert!(EtcdRegistry::connect(other_name).await.is_err());
    let no_file = with_tls(&|tls| tls.ca_file = Some("/no/such/ca.crt".into()));
    let error = EtcdRegistry::connect(no_file).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("/no/such/ca.crt"), "{error}");

    let mut wrong = good.clone();
    wrong.user.as_mut().unwrap().password = "another".to_owned();
    let error = EtcdRegistry::connect(wrong).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_reads_the_files_and_takes_the_user_from_its_environment() {
    let folder = tempfile::tempdir().unwrap();
    let (_etcd, url) = start(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let settings = format!(
        "etcd:\n  endpoints: ['{url}']\n  tls: {{ca_file: '{}', cert_file: '{}', key_file: '{}'}}\n\
         blobs: {{store: {{url: 'memory:///'}}}}\n\
         service: {{serve: {{listen: '127.0.0.1:0'}}, policy_workers: ['http://127.0.0.1:1'], \
         skill_runners: ['http://127.0.0.1:1']}}\n",
        file("ca.crt"),
        file("tls.crt"),
        file("tls.key")
    );
    let path = folder.path().join("coordinator.yaml");
    fs::write(&path, settings).unwrap();
    let mut command = Command::new(binary("maestro-coordinator").unwrap());
    command
        .arg("--config")
        .arg(path)
        .env("MAESTRO_ETCD_USER", USER)
        .env("MAESTRO_ETCD_PASSWORD", PASSWORD);
    let coordinator = Process::serve("coordinator", command, folder.path()).unwrap();
    assert!(coordinator.address.is_some(), "{}", coordinator.log());
}
