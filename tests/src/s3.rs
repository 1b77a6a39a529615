use std::net::SocketAddr;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::process::{SandboxError, io_error};

const ACCESS_KEY: &str = "AKIAIOSFODNN7TESTING";
const SECRET_KEY: &str = "a secret of the test";
const BUCKET: &str = "maestro";

/// A real server of the S3 protocol that checks signatures, with one empty bucket.
pub struct S3Server {
    address: SocketAddr,
    task: JoinHandle<()>,
    folder: TempDir,
}

impl S3Server {
    /// Starts a server on a free port of loopback.
    ///
    /// # Errors
    /// Where it cannot listen, or keep files.
    pub async fn start() -> Result<Self, SandboxError> {
        let failed = || io_error("the S3 server");
        let folder = tempfile::tempdir().map_err(failed())?;
        std::fs::create_dir(folder.path().join(BUCKET)).map_err(failed())?;
        let files = FileSystem::new(folder.path())
            .map_err(|error| failed()(std::io::Error::other(format!("{error:?}"))))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    // A client that goes away is no failure of the server.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Ok(Self {
            address,
            task,
            folder,
        })
    }

    /// Its bucket, as a store's URL.
    pub fn url(&self) -> String {
        format!("s3://{BUCKET}/blobs")
    }

    /// A folder of that store as Arrow names it, which takes only the keys from its environment.
    pub fn query_url(&self, folder: &str) -> String {
        let (url, address) = (self.url(), self.address);
        format!("{url}/{folder}?scheme=http&endpoint_override={address}&region=us-east-1")
    }

    /// How a process reaches it, in its environment.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// Bytes of all objects in the bucket.
    pub fn stored_bytes(&self) -> u64 {
        let mut open = vec![self.folder.path().join(BUCKET)];
        let mut bytes = 0;
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => open.push(entry.path()),
                    Ok(meta) => bytes += meta.len(),
                    Err(_) => {}
                }
            }
        }
        bytes
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
