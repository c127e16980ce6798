//! Header trees whose programs cannot run in the builder image: for another machine, or with a newer C library. The
//! programs are Debian's real ones, in real header trees, packed as in CentOS.
//!
//! `scripts/test.sh` prepares the requirements: a Docker daemon, rpmbuild, all builder images, the driver sources, the
//! kernel source in `vendor/` and the mirror's URL in `DRIVERKIT_MATRIX_MIRROR_DEBIAN`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use driverkit_matrix::executor::{
    DockerExecutor, Executor as _, Exit, Job, Limits, Mount, Network, Toolchain,
};
use driverkit_matrix::fs;
use driverkit_matrix::image::BuiltImage;
use driverkit_matrix::report::{BuildRecord, read_manifest};
use tokio_util::sync::CancellationToken;

use support::host::run;
use support::real::{images, kernel, program, vendor};
use support::rpmbuild::rpmbuild;

/// Merges Debian's packages in `all` into one complete header tree `tree`, with modpost at its usual path.
fn merge(all: &Path, tree: &Path) {
    let script = "set -e
        mkdir -p \"$2\"; cd \"$1\"
        cp -a usr/src/linux-headers-*-common/. \"$2\"
        rm -rf \"$2/scripts\" \"$2/tools\"
        for tree in usr/src/linux-headers-*; do
            case $tree in *-common) continue ;; esac
            rm \"$tree/scripts\" \"$tree/tools\" \"$tree/Makefile\" \"$tree/.kernelvariables\"
            cp -a \"$tree/.\" \"$2\"
        done
        rm -f \"$2/.kernelvariables\"
        cp -a usr/lib/linux-kbuild-*/scripts usr/lib/linux-kbuild-*/tools \"$2\"
        find \"$2\" -name 'Module.symvers' | grep -q .
        mv \"$2/scripts/mod/modpost.real-lsb-64\" \"$2/scripts/mod/modpost\"
        rm -f \"$2\"/scripts/mod/modpost.real-*";
    let arguments = [all, tree].map(|path| path.to_str().unwrap());
    run(
        "sh",
        &[&["-c", script, "sh"][..], &arguments].concat(),
        Path::new("/"),
    );
}

/// Packs the tree like CentOS, with the given release.
fn packed(root: &Path, tree: &Path, release: &str) -> PathBuf {
    for (name, text) in [
        (
            "include/generated/utsrelease.h",
            format!("#define UTS_RELEASE \"{release}\"\n"),
        ),
        ("include/config/kernel.release", format!("{release}\n")),
    ] {
        fs::write(&tree.join(name), text).unwrap();
    }
    let work = root.parent().unwrap();
    rpmbuild(
        work,
        root,
        &format!("kernel-devel-{release}.rpm"),
        "w1.xzdio",
    )
}

/// Builds a module of this name for a CentOS kernel, with gcc 12.
fn built(
    folder: &Path,
    rpm: &Path,
    release: &str,
    architecture: &str,
    module: &str,
) -> BuildRecord {
    let vendor = vendor();
    let matrix = format!(
        "drivers = [\"0.20.0+driver\"]\narchitectures = [\"{architecture}\"]\nartifacts = [\"module\"]\n\
         [[target]]\nname = \"centos\"\ngcc = \"12\"\n\
         kernels = [{{ release = \"{release}\", headers = [\"{}\"] }}]\n\
         [driver.\"0.20.0+driver\"]\nmodule_name = \"{module}\"\nsource = {{ path = \"{}/falcosecurity-libs-0.20.0\" }}\n",
        rpm.display(),
        vendor.display()
    );
    fs::write(&folder.join("m.toml"), matrix).unwrap();
    let output = program(folder)
        .args(["run", "m.toml", "--verbose", "--executor", "docker"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let manifest = read_manifest(&folder.join("out/manifest.json")).unwrap();
    let build = manifest.builds[0].clone();
    let vermagic = build.artifacts[0].vermagic.clone().unwrap();
    assert!(
        vermagic.starts_with(&format!("{release} SMP ")),
        "{vermagic}"
    );
    build
}

fn host_programs(build: &BuildRecord) -> &'static str {
    build.tree.unwrap().host_programs.as_str()
}

/// Creates a tree of Debian's newest 6.1 kernel for `architecture`, with programs for the same architecture, below
/// `root`.
fn debian_tree(architecture: &str, folder: &Path, root: &Path, release: &str) -> PathBuf {
    let all = folder.join(format!("packages-{architecture}"));
    for url in kernel(folder, "plain", architecture, architecture).urls {
        let package = folder.join(url.rsplit('/').next().unwrap());
        let (path, into) = (package.to_str().unwrap(), all.to_str().unwrap());
        run("curl", &["-sSf", "-o", path, &url], folder);
        run("dpkg-deb", &["-x", path, into], folder);
    }
    let tree = root.join(format!("usr/src/kernels/{release}"));
    merge(&all, &tree);
    tree
}

const ARM64: &str = "5.14.0-168.el9.aarch64";

#[tokio::test(flavor = "multi_thread")]
async fn programs_for_another_machine_run_under_qemu() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let root = folder.join("made/root");
    let tree = debian_tree("arm64", folder, &root, ARM64);
    let rpm = packed(&root, &tree, ARM64);
    let build = built(folder, &rpm, ARM64, "arm64", "falco");
    assert_eq!(host_programs(&build), "emulated");

    // Programs that need libelf and libcrypto can run as well, although no module of this kernel uses them.
    let place = format!("usr/src/kernels/{ARM64}");
    let adapted = std::fs::read_dir(folder.join("cache/trees"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join(&place))
        .find(|tree| {
            tree.join("tools/objtool/.driverkit-matrix/objtool")
                .is_file()
        });
    let at = Path::new("/").join(&place);
    let script = format!(
        "cd {}; (tools/objtool/objtool --help; scripts/sign-file) 2>&1 || true",
        at.display()
    );
    let output = folder.join("said");
    let said = in_image("bookworm", &script, (&adapted.unwrap(), &at), &output).await;
    for words in ["usage: objtool", "Usage: scripts/sign-file"] {
        assert!(
            said.to_lowercase().contains(&words.to_lowercase()),
            "{said}"
        );
    }

    // The adapted tree is cached, and created again after its removal.
    let build = built(folder, &rpm, ARM64, "arm64", "falco");
    assert_eq!(build.artifacts[0].status.as_str(), "cached");
    assert_eq!(host_programs(&build), "emulated");
    fs::remove_folder(&folder.join("cache/trees")).unwrap();
    let build = built(folder, &rpm, ARM64, "arm64", "another");
    assert_eq!(build.artifacts[0].status.as_str(), "built");
}

/// Returns the header tree of an arm64 kernel after its build, with the sources of its programs; the program itself
/// prepares this tree.
fn with_sources(folder: &Path, config: &Path) -> PathBuf {
    let vendor = vendor().join("linux-6.1");
    let source = std::fs::read_dir(&vendor)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.ends_with(".tar.xz"))
        .unwrap();
    let version = source
        .trim_start_matches("linux-")
        .trim_end_matches(".tar.xz");
    let matrix = format!(
        "drivers = [\"0.20.0+driver\"]\narchitectures = [\"arm64\"]\nartifacts = [\"module\"]\n\
         [[target]]\nname = \"vanilla\"\nkernels = [{{ release = \"{version}\", config = \"{}\" }}]\n\
         [mirrors]\n\"https://cdn.kernel.org/pub/linux/kernel/v6.x\" = [\"file://{}\"]\n\
         [driver.\"0.20.0+driver\"]\nsource = {{ path = \"{}/falcosecurity-libs-0.20.0\" }}\n",
        config.display(),
        vendor.display(),
        vendor.parent().unwrap().display()
    );
    fs::write(&folder.join("m.toml"), matrix).unwrap();
    let output = program(folder)
        .args(["run", "m.toml", "--executor", "docker", "--out", "prepared"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let trees = std::fs::read_dir(folder.join("cache/trees")).unwrap();
    let place = format!("usr/src/linux-{version}");
    trees
        .map(|entry| entry.unwrap().path().join(&place))
        .find(|path| path.join("scripts/mod/devicetable-offsets.h").is_file())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prepares a kernel source: make test-targets"]
async fn programs_are_rebuilt_from_source_or_run_with_a_newer_c_library() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let tree = debian_tree("arm64", folder, &folder.join("arm64/root"), ARM64);
    let config = folder.join("config");
    std::fs::copy(tree.join(".config"), &config).unwrap();
    let prepared = with_sources(folder, &config);
    let root = folder.join("with-sources/root");
    let into = root.join(format!("usr/src/kernels/{ARM64}"));
    let script = "set -e
        mkdir -p \"$2\"; cp -a \"$1/.\" \"$2\"
        cp \"$3/Module.symvers\" \"$2\"
        for program in scripts/basic/fixdep scripts/mod/modpost; do
            cp --remove-destination \"$3/$program\" \"$2/$program\"
        done
        rm \"$2/include/generated/utsrelease.h\" \"$2/include/config/kernel.release\"";
    let paths = [&prepared, &into, &tree].map(|path| path.to_str().unwrap());
    run("sh", &[&["-c", script, "sh"][..], &paths].concat(), folder);
    let build = built(
        folder,
        &packed(&root, &into, ARM64),
        ARM64,
        "arm64",
        "falco",
    );
    assert_eq!(host_programs(&build), "rebuilt");

    // The same modpost, compiled with a newer C library than in the image with gcc 12.
    let release = "5.14.0-168.el9.x86_64";
    let root = folder.join("amd64/root");
    let tree = debian_tree("amd64", folder, &root, release);
    let modpost = compiled_in_sid(&prepared, folder).await;
    let script = "cp --remove-destination \"$1\" \"$2/scripts/mod/modpost\"";
    let paths = [&modpost, &tree].map(|path| path.to_str().unwrap());
    run("sh", &[&["-c", script, "sh"][..], &paths].concat(), folder);
    let rpm = packed(&root, &tree, release);
    let build = built(folder, &rpm, release, "amd64", "falco");
    assert_eq!(host_programs(&build), "newer_libc");
    assert!(build.toolchain.unwrap().image.ends_with("bookworm"));
}

/// Compiles modpost in the image `sid` from the sources in a tree; returns its path.
async fn compiled_in_sid(tree: &Path, folder: &Path) -> PathBuf {
    let script = "cd /tree/scripts/mod; gcc -w -o /out/modpost modpost.c file2alias.c sumversion.c";
    let output = folder.join("compiled");
    in_image("sid", script, (tree, Path::new("/tree")), &output).await;
    output.join("modpost")
}

/// Runs a script in an image with a directory mounted; returns the output.
async fn in_image(image: &str, script: &str, tree: (&Path, &Path), output: &Path) -> String {
    let built = BuiltImage::load(&images(), image).unwrap().unwrap();
    fs::create_folder(output).unwrap();
    let job = Job {
        name: "script".to_owned(),
        run_id: "test".to_owned(),
        toolchain: Toolchain::Image {
            name: format!("driverkit-matrix/builder:{image}"),
            identity: built.identity(),
            archive: Some(built.archive.clone()),
        },
        script: script.to_owned(),
        mounts: vec![Mount {
            source: tree.0.to_owned(),
            target: tree.1.to_owned(),
        }],
        environment: Vec::new(),
        network: Network::None,
        kvm: false,
        limits: Limits {
            timeout: Duration::from_mins(5),
            memory_bytes: 1 << 30,
            output_bytes: 2 << 30,
            output_files: 200_000,
            processes: 100,
        },
        output: output.to_owned(),
    };
    let mut log = Vec::new();
    let executor = DockerExecutor::connect().await.unwrap();
    let token = CancellationToken::new();
    let done = executor.run(&job, &mut log, &token);
    let done = done.await.unwrap();
    let log = String::from_utf8_lossy(&log).into_owned();
    assert_eq!(done.exit, Exit::Code(0), "{log}");
    log
}
