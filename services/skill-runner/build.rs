//! Lists the files of the skill library, so that they can be built into the program.

use std::{env, error::Error, fmt::Write, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("skills");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut code = String::from("&[\n");
    for skill in sorted(&root)? {
        if !root.join(&skill).is_dir() {
            continue;
        }
        let mut files = Vec::new();
        list(&root.join(&skill), "", &mut files)?;
        writeln!(code, "    ({skill:?}, &[")?;
        for file in files {
            let path = root.join(&skill).join(&file);
            writeln!(
                code,
                "        ({file:?}, include_bytes!({path:?}).as_slice()),"
            )?;
        }
        writeln!(code, "    ]),")?;
    }
    code.push(']');
    fs::write(Path::new(&env::var("OUT_DIR")?).join("library.rs"), code)?;
    Ok(())
}

/// Adds the files below `dir` with their paths, parts joined by `/`.
fn list(dir: &Path, prefix: &str, files: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    for name in sorted(dir)? {
        let path = dir.join(&name);
        let shown = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        if path.is_dir() {
            list(&path, &shown, files)?;
        } else {
            files.push(shown);
        }
    }
    Ok(())
}

/// Names in a folder, sorted, without those that begin with a dot.
fn sorted(dir: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
