//! Tests of the documents: every matrix in them is valid, every link leads to a file, docs/cli.md is up to date.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use driverkit_matrix::diagnostic::SourceFile;
use driverkit_matrix::matrix;

fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Returns the content of each fenced block of one language.
fn blocks<'a>(text: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    text.split("\n```").filter_map(move |part| {
        let (first, rest) = part.split_once('\n')?;
        (first == language).then_some(rest)
    })
}

#[test]
fn every_matrix_in_the_documents_is_valid() {
    let mut count = 0;
    for (path, text) in documents() {
        for block in blocks(&text, "toml") {
            // Blocks without `drivers` are image descriptions or excerpts.
            if !block.contains("drivers") {
                continue;
            }
            count += 1;
            let file = Arc::new(SourceFile {
                path: path.clone(),
                text: block.to_owned(),
            });
            if let Err(diagnostics) = matrix::read(file) {
                let drawn: Vec<String> =
                    diagnostics.iter().map(|found| found.draw(false)).collect();
                panic!("{}", drawn.join("\n"));
            }
        }
    }
    assert!(count > 0);
}

#[test]
fn every_link_between_documents_leads_to_a_file() {
    for (path, text) in documents() {
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(
                path.parent().unwrap().join(target).exists(),
                "{} links to {target}, which does not exist",
                path.display()
            );
        }
    }
}

#[test]
fn docs_cli_md_is_up_to_date() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"))
        .args(["generate", "markdown"])
        .output()
        .unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let found = std::fs::read_to_string(path).unwrap();
    assert!(
        found.as_bytes() == output.stdout,
        "run `cargo run -- generate markdown >docs/cli.md`"
    );
}
