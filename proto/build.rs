//! Generates the Rust code of `maestro.v1` and its descriptor set (for reflection).

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let root = PathBuf::from("maestro/v1");
    let mut protos: Vec<PathBuf> = fs::read_dir(&root)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    protos.sort();
    println!("cargo:rerun-if-changed=maestro/v1");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    tonic_prost_build::configure()
        .bytes(".maestro.v1.UploadBlobRequest.chunk")
        .bytes(".maestro.v1.DownloadBlobResponse.chunk")
        .bytes(".maestro.v1.Image.content")
        .bytes(".maestro.v1.RegisterSkillRequest.content")
        .file_descriptor_set_path(out.join("maestro.v1.bin"))
        .compile_protos(&protos, &[PathBuf::from(".")])
}
