//! Where things stand in the store. Pure.

use maestro_core::Digest;
use object_store::path::Path;
use uuid::Uuid;

/// Directory of policy manifests.
pub(crate) const POLICIES: &str = "policies";

/// Where a blob stands. The two-digit directory keeps directories of a file system small.
pub(crate) fn blob(digest: &Digest) -> Path {
    let name = digest.to_string();
    Path::from(format!("blobs/sha256/{}/{name}", &name[..2]))
}

/// Where the manifest of a policy stands for listings.
pub(crate) fn policy(digest: &Digest) -> Path {
    Path::from(format!("{POLICIES}/{digest}.json"))
}

/// Which policy's manifest a path holds, if it holds one.
pub(crate) fn parse_policy(path: &Path) -> Option<Digest> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

/// Where an upload comes in before its digest is known.
pub(crate) fn upload(id: Uuid) -> Path {
    Path::from(format!("uploads/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_documented() {
        let digest = Digest::of(b"");
        let name = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(blob(&digest).as_ref(), format!("blobs/sha256/e3/{name}"));
        assert_eq!(policy(&digest).as_ref(), format!("policies/{name}.json"));
        assert_eq!(parse_policy(&policy(&digest)), Some(digest));
        assert_eq!(parse_policy(&Path::from("policies/notes.txt")), None);
        assert_eq!(parse_policy(&Path::from("policies/abc.json")), None);
    }
}
