//! Creates rpms with rpmbuild.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Creates `file` (`kernel-devel-5.14.0-168.el9.x86_64.rpm`) in the directory `work` from everything in `content`.
/// `payload` is the value of rpm's macro `_binary_payload`: `w2.xzdio`.
pub fn rpmbuild(work: &Path, content: &Path, file: &str, payload: &str) -> PathBuf {
    let parts = || {
        let (rest, architecture) = file.strip_suffix(".rpm")?.rsplit_once('.')?;
        let (rest, release) = rest.rsplit_once('-')?;
        let (name, version) = rest.rsplit_once('-')?;
        Some([name, version, release, architecture])
    };
    let [name, version, release, architecture] = parts().expect("the name of an rpm");
    let spec = format!(
        "Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: Headers\nLicense: GPL\nAutoReqProv: no\n\
         %description\nHeaders.\n%files\n/*\n"
    );
    let spec_path = work.join(format!("{file}.spec"));
    driverkit_matrix::fs::write(&spec_path, spec).expect("written");
    let defines = [
        format!("_topdir {}", work.join("rpmbuild").display()),
        format!("_rpmdir {}", work.display()),
        format!("_binary_payload {payload}"),
        format!("_rpmfilename {file}"),
        // rpmbuild must not change the content.
        "__os_install_post %{nil}".to_owned(),
        "__check_files %{nil}".to_owned(),
        "_build_id_links none".to_owned(),
        "_binaries_in_noarch_packages_terminate_build 0".to_owned(),
    ];
    let mut command = Command::new("rpmbuild");
    // The content is kept for the next package.
    command
        .args(["-bb", "--quiet", "--noclean", "--target"])
        .arg(format!("{architecture}-linux"))
        .arg("--buildroot")
        .arg(content);
    for define in &defines {
        command.args(["--define", define]);
    }
    let output = command.arg(&spec_path).output().expect("rpmbuild");
    assert!(output.status.success(), "{file}: {output:?}");
    work.join(file)
}
