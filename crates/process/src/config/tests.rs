use std::{future, time::Duration};

use maestro_rpc::{DrainReport, ServeConfig};

use super::*;
use crate::Resources;

/// A service without anything, to read settings for.
struct Nothing;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NothingConfig {
    serve: ServeConfig,
    size: u32,
}

impl Program for Nothing {
    const NAME: &'static str = "nothing";
    const ABOUT: &'static str = "Does nothing.";
    type Config = NothingConfig;

    fn serve(config: &mut NothingConfig) -> &mut ServeConfig {
        &mut config.serve
    }

    fn validate(config: &NothingConfig) -> Result<(), ProcessError> {
        if config.size < 10 {
            return Ok(());
        }
        Err(ProcessError::Setting {
            setting: "size",
            reason: format!("is {}; must be below 10", config.size),
        })
    }

    fn start(
        _: NothingConfig,
        _: Resources,
    ) -> impl Future<Output = Result<Self, ProcessError>> + Send {
        future::ready(Ok(Self))
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn wait(&mut self) -> impl Future<Output = Result<(), ProcessError>> + Send {
        future::pending()
    }

    fn drain(self, _: Duration) -> impl Future<Output = DrainReport> + Send {
        future::ready(DrainReport { unfinished: 0 })
    }
}

fn load(
    yaml: &str,
    flags: &[&str],
) -> Result<(Option<Command>, Config<NothingConfig>), ProcessError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    let path = file.path().to_str().unwrap();
    let arguments = ["nothing", "--config", path];
    Arguments::try_parse_from(arguments.iter().chain(flags))
        .unwrap()
        .load::<Nothing>()
}

const REMOTE: &str = "blobs: {remote: {endpoints: ['http://d:2']}}\n";

#[test]
fn flags_stand_above_the_file() {
    let yaml = format!(
        "service: {{size: 7, serve: {{listen: '127.0.0.1:1'}}}}\netcd: {{endpoints: ['http://a:1']}}\n{REMOTE}"
    );
    let flags = [
        "--etcd",
        "http://b:1,http://c:1",
        "--blobs",
        "http://e:3",
        "--listen",
        "127.0.0.1:9",
    ];
    let (command, config) = load(&yaml, &flags).unwrap();
    assert_eq!(command, None);
    assert_eq!(config.service.size, 7);
    assert_eq!(config.service.serve.listen.port(), 9);
    assert_eq!(config.etcd.endpoints, ["http://b:1", "http://c:1"]);
    let BlobSource::Remote { endpoints, .. } = config.blobs else {
        panic!("the flag names servers");
    };
    assert_eq!(endpoints, ["http://e:3".parse().unwrap()]);
}

#[test]
fn a_user_of_etcd_needs_a_password() {
    let load = |password: Option<&str>| {
        let arguments = Arguments {
            etcd_user: Some("runner".to_owned()),
            blobs: vec!["http://b:1".parse().unwrap()],
            ..Arguments::default()
        };
        arguments.load_with::<Nothing>(password.map(str::to_owned))
    };
    let (_, config) = load(Some("secret")).unwrap();
    let user = config.etcd.user.unwrap();
    assert_eq!((&*user.name, &*user.password), ("runner", "secret"));
    let Err(error) = load(None) else {
        panic!("there is no password");
    };
    assert!(error.to_string().contains("MAESTRO_ETCD_PASSWORD"));
}

#[test]
fn bad_settings_are_named() {
    let error = |yaml: &str| load(yaml, &[]).unwrap_err().to_string();
    assert!(error("service: {sise: 1}\n").contains("sise"));
    assert!(error("tracing: {}\n").contains("tracing"));
    assert!(error(&format!("service: {{size: 10}}\n{REMOTE}")).contains("size is 10"));
    assert!(error("{}\n").contains("blobs"));
    assert!(error("blobs: {remote: {endpoints: []}}\n").contains("blobs.remote.endpoints"));
    assert!(error("service: [\n").contains("line"));
    let missing = Arguments {
        config: Some("/no/such/file".into()),
        ..Arguments::default()
    };
    let Err(error) = missing.load::<Nothing>() else {
        panic!("the file does not exist");
    };
    assert!(error.to_string().contains("/no/such/file"));
}

#[test]
fn a_probe_needs_no_more_than_the_address() {
    let (command, mut config) =
        load("service: {serve: {listen: '[::]:7'}}\n", &["health"]).unwrap();
    assert_eq!(
        command,
        Some(Command::Health {
            timeout_ms: 1000,
            target: None
        })
    );
    let address = reachable(Nothing::serve(&mut config.service).listen);
    assert_eq!(address, "http://[::1]:7");
    let other = reachable("10.0.0.1:7".parse().unwrap());
    assert_eq!(other, "http://10.0.0.1:7");
    let arguments = [
        "nothing",
        "--advertise",
        "http://a:1",
        "--blobs",
        "http://b:1",
    ];
    let error = Arguments::try_parse_from(arguments)
        .unwrap()
        .load::<Nothing>()
        .unwrap_err();
    assert!(error.to_string().contains("advertise"), "{error}");
}
