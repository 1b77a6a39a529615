//! The layers of ARCHITECTURE.md, read from `cargo metadata`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Layer of each crate, the lowest first. Crates of one layer do not use each other.
const LAYERS: &[&[&str]] = &[
    &["maestro-core", "maestro-telemetry", "maestro-proto"],
    &["maestro-skills", "maestro-models", "maestro-wire"],
    &[
        "maestro-rpc",
        "maestro-registry",
        "maestro-store",
        "maestro-policy",
    ],
    &["maestro-process"],
    &[
        "maestro-coordinator",
        "maestro-policy-worker",
        "maestro-expert-worker",
        "maestro-skill-runner",
    ],
    &["maestro-cli", "maestro-tests"],
];

/// Libraries that only some crates may know.
const PRIVATE: &[(&str, &[&str])] = &[
    ("burn", &["maestro-models", "maestro-policy"]),
    ("burn-store", &["maestro-models", "maestro-policy"]),
    ("etcd-client", &["maestro-registry"]),
    ("object_store", &["maestro-store"]),
    ("parquet", &["maestro-store"]),
    ("ractor", &["maestro-coordinator"]),
];

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    metadata.packages.into_iter().collect()
}

fn dependencies(package: &Package) -> Vec<String> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.clone())
        .collect()
}

#[test]
fn a_layer_uses_only_lower_ones() {
    let layers: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, names)| names.iter().map(move |name| (*name, layer)))
        .collect();
    let packages = packages();
    assert_eq!(
        packages.len(),
        layers.len(),
        "every crate stands in a layer"
    );
    for package in &packages {
        let layer = layers[package.name.as_str()];
        for dependency in dependencies(package) {
            if let Some(other) = layers.get(dependency.as_str()) {
                assert!(*other < layer, "{} must not use {dependency}", package.name);
            }
        }
    }
}

#[test]
fn private_libraries_are_known_to_their_crates_only() {
    for package in packages() {
        for dependency in dependencies(&package) {
            for (library, crates) in PRIVATE {
                assert!(
                    dependency != *library || crates.contains(&package.name.as_str()),
                    "{} must not use {library}",
                    package.name
                );
            }
        }
    }
}
