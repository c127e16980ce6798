//! Creates packages in the formats and layouts of the distributions.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use driverkit_matrix::fs;

use crate::targets::content::Content;
use crate::targets::distributions::{Format, Layout, Package};
use support::host::run;
use support::rpmbuild::rpmbuild;

/// Creates a package and stores it under the path of its URL, below the directory of its host.
pub(crate) fn make(content: &Content, package: &Package, here: &Path, mirrors: &Path) {
    let path = mirrors.join(package.path());
    make_file(&path, package.format, here, |root| {
        lay_out(content, package, root);
    });
}

/// Creates a package from the files that `lay_out` writes into a directory, unless it was created from this content
/// before.
pub(crate) fn make_file(path: &Path, format: Format, here: &Path, lay_out: impl FnOnce(&Path)) {
    let stamp = std::fs::metadata(here.join("content/done"))
        .unwrap()
        .modified()
        .unwrap();
    if std::fs::metadata(path).is_ok_and(|made| made.modified().unwrap() > stamp) {
        return;
    }
    fs::create_folder(path.parent().unwrap()).unwrap();
    let work = tempfile::tempdir_in(here).unwrap();
    let root = work.path().join("root");
    fs::create_folder(&root).unwrap();
    lay_out(&root);
    let file = path.file_name().unwrap().to_str().unwrap();
    let made = match format {
        Format::Deb => deb(work.path(), &root, file),
        Format::Rpm(payload) => rpmbuild(work.path(), &root, file, payload),
        Format::Pacman => pacman(work.path(), &root, file),
        Format::Tar => tarball(work.path(), &root, file),
    };
    fs::rename(&made, path).unwrap();
}

/// Returns a package's description for the table: its format and where it installs.
pub(crate) fn describe(package: &Package) -> String {
    let format = match package.format {
        Format::Deb => "deb (zst)".to_owned(),
        Format::Rpm(payload) => {
            let compression = payload
                .trim_start_matches(|c: char| c != '.')
                .trim_start_matches('.');
            format!("rpm ({})", compression.trim_end_matches("dio"))
        }
        Format::Pacman => {
            let (_, end) = package.address.rsplit_once('.').unwrap();
            format!("pkg.tar ({end})")
        }
        Format::Tar => "tar (gz)".to_owned(),
    };
    format!("{format} `{}`", package.folder)
}

/// Copies a directory with hard links: a file that is changed must be written anew.
fn copy(from: &Path, to: &Path) {
    fs::create_folder(to).unwrap();
    run(
        "cp",
        &[
            "-al",
            &format!("{}/.", from.display()),
            to.to_str().unwrap(),
        ],
        Path::new("/"),
    );
}

fn lay_out(content: &Content, package: &Package, root: &Path) {
    let folder = root.join(package.folder);
    match package.layout {
        Layout::Whole => {
            copy(&content.common, &folder);
            copy(&content.generated, &folder);
            name_release(&folder, package.uts_release);
        }
        Layout::Common => copy(&content.common, &folder),
        Layout::Linked { common } => {
            copy(&content.generated, &folder);
            link_rest(&content.common, &folder, &Path::new("..").join(common));
            name_release(&folder, package.uts_release);
        }
        Layout::Object { sources } => {
            copy(&content.generated, &folder);
            for name in ["scripts", "tools"] {
                symlink(Path::new(sources).join(name), folder.join(name)).unwrap();
            }
            fs::write(
                &folder.join("Makefile"),
                format!("include {sources}/Makefile\n"),
            )
            .unwrap();
            name_release(&folder, package.uts_release);
        }
    }
}

/// Links files of `common` that are missing in `folder`; `away` is the relative path to `common`.
fn link_rest(common: &Path, folder: &Path, away: &Path) {
    for entry in std::fs::read_dir(common).unwrap() {
        let name = entry.unwrap().file_name();
        let here = folder.join(&name);
        if here.is_dir() {
            link_rest(
                &common.join(&name),
                &here,
                &Path::new("..").join(away).join(&name),
            );
        } else if !here.exists() {
            symlink(away.join(&name), here).unwrap();
        }
    }
}

/// Writes the release into the files that contain it.
fn name_release(folder: &Path, release: &str) {
    let texts = [
        (
            "include/generated/utsrelease.h",
            format!("#define UTS_RELEASE \"{release}\"\n"),
        ),
        ("include/config/kernel.release", format!("{release}\n")),
    ];
    for (name, text) in texts {
        // The file is removed first, since it is a hard link.
        fs::remove_file(&folder.join(name)).unwrap();
        fs::write(&folder.join(name), text).unwrap();
    }
}

fn deb(work: &Path, root: &Path, file: &str) -> PathBuf {
    let mut parts = file.trim_end_matches(".deb").split('_');
    let [name, version, architecture] = [(); 3].map(|()| parts.next().unwrap());
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Nobody <nobody@example.org>\n\
         Description: Headers\n"
    );
    fs::write(&root.join("DEBIAN/control"), control).unwrap();
    let made = work.join(file);
    let paths = [root.to_str().unwrap(), made.to_str().unwrap()];
    let options = ["--root-owner-group", "-Zzstd", "-z3", "--build"];
    run("dpkg-deb", &[&options[..], &paths].concat(), work);
    made
}

/// Packs like makepkg: the files that describe the package come first.
fn pacman(work: &Path, root: &Path, file: &str) -> PathBuf {
    let about = [".BUILDINFO", ".MTREE", ".PKGINFO"];
    for name in about {
        fs::write(&root.join(name), format!("# {file}\n")).unwrap();
    }
    let made = work.join(file);
    let compress = if Path::new(file).extension().unwrap() == "zst" {
        "zstd -3"
    } else {
        "xz -1"
    };
    let options = [
        "--owner=0",
        "--group=0",
        "-I",
        compress,
        "-cf",
        made.to_str().unwrap(),
    ];
    run("tar", &[&options[..], &about, &["usr"]].concat(), root);
    made
}

/// Packs a build tree as users do it by hand.
fn tarball(work: &Path, root: &Path, file: &str) -> PathBuf {
    let made = work.join(file);
    let options = [
        "--owner=0",
        "--group=0",
        "-czf",
        made.to_str().unwrap(),
        ".",
    ];
    run("tar", &options, root);
    made
}
