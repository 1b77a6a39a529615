//! Bad input over the wire: a typed error names the field, and the service goes on.

use std::time::SystemTime;

use maestro_proto::v1::{
    self, blob_service_client::BlobServiceClient, episode_service_client::EpisodeServiceClient,
    registry_service_client::RegistryServiceClient,
};
use maestro_rpc::RemoteBlobs;
use maestro_tests::{ChatServer, Process, local_up};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::client::{answer, client, descriptor, request, run};

/// A valid PNG of one grey pixel.
fn pixel() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(1, 1)
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    png.into_inner()
}

/// The CRC-32 that ends a chunk of a PNG (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

/// A few bytes whose header promises `side` × `side` pixels.
fn huge(side: u32) -> Vec<u8> {
    let mut png = pixel();
    png[16..20].copy_from_slice(&side.to_be_bytes());
    png[20..24].copy_from_slice(&side.to_be_bytes());
    let checksum = crc(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    png
}

fn with_images(contents: Vec<Vec<u8>>) -> v1::RunEpisodeRequest {
    let mut request = request("What is shown?");
    request.task.as_mut().unwrap().images = contents
        .into_iter()
        .map(|content| v1::Image {
            source: Some(v1::image::Source::Content(content.into())),
            ..v1::Image::default()
        })
        .collect();
    request
}

fn changed(change: impl FnOnce(&mut v1::Task)) -> v1::RunEpisodeRequest {
    let mut request = request("How many?");
    change(request.task.as_mut().unwrap());
    request
}

fn budget(budget: v1::Budget) -> v1::RunEpisodeRequest {
    changed(|task| task.budget = Some(budget))
}

/// The field that a refusal names, after checking that it is one of bad input.
fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("INVALID_FIELD", "maestro")
    );
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert!(!violations[0].description.is_empty());
    violations[0].field.clone()
}

struct Up {
    _process: Process,
    _folder: tempfile::TempDir,
    endpoint: url::Url,
}

fn up() -> Up {
    let folder = tempfile::tempdir().unwrap();
    let process = local_up(folder.path()).unwrap();
    let endpoint = process.address.clone().unwrap();
    Up {
        _process: process,
        _folder: folder,
        endpoint,
    }
}

async fn registry(endpoint: &url::Url) -> RegistryServiceClient<Channel> {
    RegistryServiceClient::connect(endpoint.to_string())
        .await
        .unwrap()
}

/// The service still answers.
async fn goes_on(client: &mut EpisodeServiceClient<Channel>, endpoint: &url::Url) {
    let chat = ChatServer::start("still here").await.unwrap();
    let added = v1::RegisterExpertRequest {
        descriptor: Some(maestro_wire::ToProto::to_proto(&descriptor(
            "late",
            &chat.base_url(),
        ))),
        replace: false,
    };
    registry(endpoint)
        .await
        .register_expert(added)
        .await
        .unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let episode = run(client, crate::client::pinned("Are you there?", "late")).await;
        if answer(&episode).as_deref() == Some("still here") {
            return;
        }
        assert!(std::time::Instant::now() < until, "{episode:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_task_is_refused_with_its_field() {
    let up = up();
    let mut client = client(&up.endpoint).await;
    let past = SystemTime::now() - std::time::Duration::from_secs(5);
    let pinned = v1::Constraints {
        pinned: vec![v1::Pair {
            expert: "nobody".into(),
            skill: "direct".into(),
        }],
        ..v1::Constraints::default()
    };
    let cases = [
        ("an empty question", request("  "), "question"),
        (
            "an image of no bytes",
            with_images(vec![vec![]]),
            "images[0]",
        ),
        (
            "an image that is a text",
            with_images(vec![pixel(), b"This is no image.".to_vec()]),
            "images[1]",
        ),
        (
            "100 megapixels",
            with_images(vec![huge(10_001)]),
            "images[0]",
        ),
        (
            "a decompression bomb",
            with_images(vec![huge(u32::from(u16::MAX))]),
            "images[0]",
        ),
        ("65 images", with_images(vec![pixel(); 65]), "images"),
        (
            "a negative cost",
            budget(v1::Budget {
                max_cost_micro_usd: Some(-1),
                ..v1::Budget::default()
            }),
            "max_cost",
        ),
        (
            "negative steps",
            budget(v1::Budget {
                max_steps: Some(-1),
                ..v1::Budget::default()
            }),
            "max_steps",
        ),
        (
            "a deadline in the past",
            budget(v1::Budget {
                deadline: Some(past.into()),
                ..v1::Budget::default()
            }),
            "deadline",
        ),
        (
            "a pinned pair with an unknown expert",
            changed(|task| task.constraints = Some(pinned)),
            "pinned",
        ),
    ];
    for (what, request, expected) in cases {
        let status = client.run_episode(request).await.map(drop).expect_err(what);
        let field = field(&status);
        assert!(field.contains(expected), "{what}: {field}: {status:?}");
    }
    goes_on(&mut client, &up.endpoint).await;
}

/// The bundle of a skill as it travels; what a well-meaning client would not send.
fn bundle(solver: &str) -> bytes::Bytes {
    let folder = tempfile::tempdir().unwrap();
    let skill = folder.path().join("bad-skill");
    std::fs::create_dir_all(skill.join("solvers")).unwrap();
    let front = "---\nname: bad-skill\ndescription: A skill that cannot work.\n---\nText.\n";
    std::fs::write(skill.join("SKILL.md"), front).unwrap();
    std::fs::write(skill.join("solvers/one.yaml"), solver).unwrap();
    maestro_skills::pack(&skill).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_entry_of_the_registry_is_refused_with_its_field() {
    use maestro_core::ports::Blobs;
    let up = up();
    let mut registry = registry(&up.endpoint).await;
    let before = registry
        .list_skills(v1::ListSkillsRequest {})
        .await
        .unwrap()
        .into_inner();

    let mut silent = descriptor("silent", "http://127.0.0.1:1/v1");
    silent.description = String::new();
    let status = registry
        .register_expert(v1::RegisterExpertRequest {
            descriptor: Some(maestro_wire::ToProto::to_proto(&silent)),
            replace: false,
        })
        .await
        .unwrap_err();
    assert!(field(&status).contains("description"), "{status:?}");

    let blobs = RemoteBlobs::new(
        std::slice::from_ref(&up.endpoint),
        maestro_rpc::BlobClientConfig::default(),
    )
    .unwrap();
    let cycle = "description: Turns in a circle.\nsteps:\n  one:\n    after: [two]\n    \
                 ask: {prompt: a, max_output_tokens: 8}\n  two:\n    after: [one]\n    \
                 ask: {prompt: b, max_output_tokens: 8}\nanswer: {text: '{{ one.text }}'}\n";
    let unknown = "description: Names nothing.\nsteps:\n  one:\n    \
                   ask: {prompt: '{{ nowhere.text }}', max_output_tokens: 8}\n\
                   answer: {text: '{{ one.text }}'}\n";
    let malformed = "description: [\n";
    for (solver, word) in [(cycle, "cycle"), (unknown, "nowhere"), (malformed, "line")] {
        let digest = blobs.put(bundle(solver)).await.unwrap();
        let status = registry
            .register_skill(v1::RegisterSkillRequest {
                source: Some(v1::register_skill_request::Source::Bundle(
                    digest.to_string(),
                )),
                replace: false,
            })
            .await
            .unwrap_err();
        assert_eq!(field(&status), "bundle", "{status:?}");
        let text = status.message();
        assert!(
            text.contains(word) && text.contains("solvers/one.yaml"),
            "{text}"
        );
    }
    let after = registry
        .list_skills(v1::ListSkillsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        after.skills.len(),
        before.skills.len(),
        "nothing was stored"
    );
    goes_on(&mut client(&up.endpoint).await, &up.endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_must_be_what_it_says() {
    let up = up();
    let mut blobs = BlobServiceClient::connect(up.endpoint.to_string())
        .await
        .unwrap();
    let status = blobs
        .download_blob(v1::DownloadBlobRequest {
            digest: "sha256:short".into(),
        })
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(field(&status), "digest");
    let absent = maestro_core::Digest::of(b"nobody stored this").to_string();
    let mut download = blobs
        .download_blob(v1::DownloadBlobRequest { digest: absent })
        .await
        .map_or_else(Err, |stream| Ok(stream.into_inner()));
    let status = match &mut download {
        Err(status) => status.clone(),
        Ok(stream) => stream.message().await.unwrap_err(),
    };
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
}
