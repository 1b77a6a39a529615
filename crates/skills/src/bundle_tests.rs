use proptest::prelude::*;

use super::*;

const SKILL: &str = "---\nname: a-skill\ndescription: Does something for somebody.\n---\nDo it.\n";

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

#[test]
fn equal_folders_have_equal_bundles() {
    let files: [(&str, &[u8]); 3] = [
        ("SKILL.md", SKILL.as_bytes()),
        ("assets/b.bin", &[0, 255, b'\n']),
        (".git/x", b"no"),
    ];
    let one = pack(folder(&files).path()).unwrap();
    let mut reversed = files;
    reversed.reverse();
    let other = pack(folder(&reversed).path()).unwrap();
    assert_eq!(one, other);
    let skill = unpack(&one).unwrap();
    assert_eq!(*skill.bundle(), one);
    assert_eq!(skill.digest(), maestro_core::Digest::of(&one));
}

#[cfg(unix)]
#[test]
fn links_are_refused() {
    let dir = folder(&[("SKILL.md", SKILL.as_bytes())]);
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("notes")).unwrap();
    assert!(matches!(
        pack(dir.path()),
        Err(SkillError::ForbiddenPath { .. })
    ));
}

#[test]
fn a_huge_folder_is_refused_without_reading_it_all() {
    let dir = folder(&[("SKILL.md", SKILL.as_bytes())]);
    let huge = std::fs::File::create(dir.path().join("weights.bin")).unwrap();
    huge.set_len(200 << 20).unwrap();
    assert!(matches!(pack(dir.path()), Err(SkillError::TooLarge { .. })));
}

#[test]
fn paths_that_leave_the_folder_are_refused() {
    for path in [
        "../x",
        "/etc/passwd",
        "a/../../b",
        "a//b",
        "a\\b",
        "./a",
        "c:x",
    ] {
        let mut bundle = MAGIC.to_vec();
        bundle.extend_from_slice(format!("{path} 1\nx").as_bytes());
        let error = unpack(&bundle).unwrap_err();
        assert!(
            matches!(error, SkillError::ForbiddenPath { .. }),
            "{path}: {error}"
        );
    }
}

#[test]
fn malformed_bundles_are_refused() {
    for bad in [
        "",
        "maestro-skill/2\n",
        "maestro-skill/1\nSKILL.md",
        "maestro-skill/1\na 9\nx",
        "maestro-skill/1\na +1\nx",
        "maestro-skill/1\na 01\nx",
        "maestro-skill/1\nb 0\na 0\n",
        "maestro-skill/1\na 0\na 0\n",
    ] {
        let error = unpack(bad.as_bytes()).unwrap_err();
        assert!(
            matches!(error, SkillError::MalformedBundle(_)),
            "{bad:?}: {error}"
        );
    }
    let many: String = (0..=MAX_FILES).map(|i| format!("f{i:04} 0\n")).collect();
    let bundle = format!("maestro-skill/1\n{many}");
    assert!(matches!(
        unpack(bundle.as_bytes()),
        Err(SkillError::TooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn files_survive_a_bundle(
        contents in prop::collection::btree_map(
            "[a-z]{1,4}(/[a-z0-9 _-]{1,4}[a-z])?", prop::collection::vec(any::<u8>(), 0..50), 0..12,
        )
    ) {
        let files: Files = contents.into_iter().map(|(k, v)| (k, v.into())).collect();
        prop_assert_eq!(decode(&encode(&files)).unwrap(), files);
    }

    #[test]
    fn any_bytes_are_an_error_or_a_bundle(tail in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut bundle = MAGIC.to_vec();
        bundle.extend(tail);
        if let Ok(files) = decode(&bundle) {
            prop_assert_eq!(encode(&files), bundle);
        }
    }
}
