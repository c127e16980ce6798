//! Tests of kernels with named packages: the content of the packages decides, not the form of the release.

use serde_json::{Value, json};

use driverkit_matrix::kernel::Architecture;

use support::grid::{Grid, deb, module, module_of, rule, tarball};

const CONFIG: &str =
    "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n";

/// Returns the files of a kernel's build tree, below `folder`.
fn tree(folder: &str, release: &str) -> Vec<(String, String)> {
    let start = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    [
        ("Makefile", "all:\n".to_owned()),
        (".config", CONFIG.to_owned()),
        (
            "include/generated/utsrelease.h",
            format!("#define UTS_RELEASE \"{release}\"\n"),
        ),
        ("scripts/x", "x\n".to_owned()),
    ]
    .map(|(name, content)| (format!("{start}{name}"), content))
    .into()
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_str()))
        .collect()
}

/// Writes a package that contains the build tree of kernel `release` in `folder`.
fn write_package(grid: &Grid, file: &str, folder: &str, release: &str) {
    let files = tree(folder, release);
    let files = borrowed(&files);
    let is_deb = std::path::Path::new(file)
        .extension()
        .is_some_and(|extension| extension == "deb");
    grid.write(file, if is_deb { deb(&files) } else { tarball(&files) });
}

/// Returns a matrix with one target and the driver in `driver`.
fn matrix(target: &str, kernels: &str) -> String {
    format!(
        "drivers = [\"one\"]\nartifacts = [\"module\"]\n[driver.\"one\"]\nsource = {{ path = \"driver\" }}\n\
         module_name = \"scap\"\n[defaults]\nretries = 0\n[[target]]\n{target}\nkernels = [{kernels}]\n"
    )
}

fn makes_module_for(grid: &Grid, release: &str) -> Value {
    grid.write("own.ko", module(release));
    rule(
        "module *",
        &json!({ "copies": { "module.ko": grid.path("own.ko") } }),
    )
}

#[test]
fn an_unknown_form_of_release_is_built_from_named_packages() {
    for (target, release, file, folder) in [
        (
            "rocky",
            "6.6.30-acme",
            "acme.tar",
            "usr/src/kernels/6.6.30-acme",
        ),
        (
            "centos",
            "5.14.0-503.el9.x86_64+rt",
            "rt.tar",
            "usr/src/kernels/5.14.0-503.el9.x86_64+rt",
        ),
        (
            "almalinux",
            "6.12.0-55.43.1.el10_0.x86_64_v2",
            "v2.tar",
            "usr/src/kernels/6.12.0-55.43.1.el10_0.x86_64_v2",
        ),
        (
            "opensuse",
            "6.4.0-150600.10.5-rt",
            "rt.tar",
            "usr/src/linux-6.4.0-150600.10.5-rt-obj/x86_64/rt",
        ),
        (
            "debian",
            "6.6.30-acme",
            "linux-headers-6.6.30-acme_1_amd64.deb",
            "usr/src/linux-headers-6.6.30-acme",
        ),
        (
            "ubuntu",
            "6.15.1-x64v3-xanmod1",
            "linux-headers_1_amd64.deb",
            "usr/src/linux-headers-6.15.1-x64v3-xanmod1",
        ),
        (
            "arch",
            "7.2.3-1-cachyos",
            "cachyos.tar",
            "usr/lib/modules/7.2.3-1-cachyos/build",
        ),
        (
            "fedora",
            "6.13.6-1-surface+",
            "surface.tar",
            "opt/surface/headers",
        ),
        (
            "vanilla",
            "5.15.146.1-microsoft-standard-WSL2",
            "wsl_1_amd64.deb",
            "usr/src/wsl",
        ),
        (
            "generic",
            "6.6.30-acme",
            "acme_1_amd64.deb",
            "usr/src/acme/build",
        ),
        // The rule knows the release, but the package has its tree in another directory.
        (
            "rocky",
            "5.14.0-284.11.1.el9_2.x86_64",
            "acme.tar",
            "usr/src/acme",
        ),
    ] {
        let grid = Grid::new();
        write_package(&grid, file, folder, release);
        let path = grid.path(file).display().to_string();
        grid.write_matrix(&matrix(
            &format!("name = \"{target}\""),
            &format!("{{ release = \"{release}\", headers = [{path:?}] }}"),
        ));
        let made = makes_module_for(&grid, release);
        grid.fake(&[made]);
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{target} {release}: {text}");
        let module = format!("out/one/x86_64/scap_{target}_{release}_1.ko");
        assert!(grid.path(&module).is_file(), "{target} {release}: {text}");
    }
}

#[test]
fn a_build_tree_in_a_tarball_or_directory_may_have_any_name() {
    for (headers, folder) in [
        ("acme.tar", "linux-6.6.30-acme"),
        ("acme.tar", ""),
        ("acme.tar", "home/acme/linux"),
        ("tree", "."),
        ("tree", "kernel/build"),
    ] {
        let grid = Grid::new();
        if headers == "tree" {
            for (name, content) in tree(&format!("tree/{folder}"), "6.6.30-acme") {
                grid.write(&name, content);
            }
        } else {
            write_package(&grid, headers, folder, "6.6.30-acme");
        }
        let path = grid.path(headers).display().to_string();
        grid.write_matrix(&matrix(
            "name = \"acme\"\ngeneric = true",
            &format!("{{ release = \"6.6.30-acme\", version = \"7\", headers = [{path:?}] }}"),
        ));
        let made = makes_module_for(&grid, "6.6.30-acme");
        grid.fake(&[made]);
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{headers} {folder}: {text}");
        let module = grid.path("out/one/x86_64/scap_acme_6.6.30-acme_7.ko");
        assert!(module.is_file(), "{headers} {folder}: {text}");
        // The second run finds everything in the cache.
        grid.jobs();
        let (code, text) = grid.run(&[]);
        assert_eq!((code, grid.jobs().len()), (0, 0), "{text}");
    }
}

#[test]
fn a_toolchain_mismatch_of_a_kernel_built_by_clang_names_its_clang() {
    let grid = Grid::new();
    let config = format!("{CONFIG}CONFIG_CC_IS_CLANG=y\nCONFIG_CLANG_VERSION=190107\n");
    for (name, content) in tree("tree", "7.2.3-1-cachyos") {
        let content = if name.ends_with(".config") {
            &config
        } else {
            &content
        };
        grid.write(&name, content);
    }
    let path = grid.path("tree").display().to_string();
    grid.write_matrix(&matrix(
        "name = \"generic\"",
        &format!("{{ release = \"7.2.3-1-cachyos\", headers = [{path:?}] }}"),
    ));
    let log = "gcc: error: unrecognized argument to '-fsanitize=' option: 'kcfi'\n";
    grid.fake(&[rule(
        "check *",
        &json!({ "outputs": {
            "checks/toolchain-module/status": "2\n",
            "checks/toolchain-module/log": log,
        } }),
    )]);
    for _ in ["made", "known"] {
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 1, "{text}");
        let (_, class, message) = grid.outcome();
        assert_eq!(class, "toolchain-mismatch", "{message}");
        let start = "the kernel was built by clang 19.1.7, modules are compiled by gcc: ";
        assert!(
            message.starts_with(start) && message.contains("kcfi"),
            "{message}"
        );
    }
}

/// `/sys/kernel/btf/vmlinux` belongs to the kernel of the building machine, not to the kernel of the tree.
#[test]
fn a_link_to_the_machines_kernel_is_left_out_of_a_build_tree() {
    let grid = Grid::new();
    for (name, content) in tree("tree", "6.6.30-acme") {
        grid.write(&name, content);
    }
    grid.write("machine/btf/vmlinux", "of the machine");
    std::os::unix::fs::symlink(grid.path("machine/btf/vmlinux"), grid.path("tree/vmlinux"))
        .unwrap();
    let path = grid.path("tree").display().to_string();
    grid.write_matrix(&matrix(
        "name = \"generic\"",
        &format!("{{ release = \"6.6.30-acme\", headers = [{path:?}] }}"),
    ));
    let made = makes_module_for(&grid, "6.6.30-acme");
    grid.fake(&[made]);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let trees = walkdir::WalkDir::new(grid.path("cache/trees"));
    let names: Vec<String> = trees
        .into_iter()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().any(|name| name == "utsrelease.h"), "{names:?}");
    for name in ["vmlinux", "btf", "machine"] {
        assert!(!names.iter().any(|found| found == name), "{names:?}");
    }
    // Another kernel on the machine does not change anything either.
    grid.write("machine/btf/vmlinux", "of another");
    grid.jobs();
    let (code, text) = grid.run(&[]);
    assert_eq!((code, grid.jobs().len()), (0, 0), "{text}");
}

#[test]
fn packages_without_the_tree_are_refused_with_their_content() {
    let grid = Grid::new();
    let other = ("other.tar", "usr/src/other", "6.6.31-acme");
    write_package(&grid, other.0, other.1, other.2);
    grid.write("empty.tar", tarball(&[("usr/src/x/Makefile", "all:\n")]));
    for (file, expected) in [
        (
            "other.tar",
            "they hold the tree of 6.6.31-acme in /usr/src/other",
        ),
        ("empty.tar", "they hold no complete kernel tree"),
    ] {
        let path = grid.path(file).display().to_string();
        grid.write_matrix(&matrix(
            "name = \"generic\"",
            &format!("{{ release = \"6.6.30-acme\", headers = [{path:?}] }}"),
        ));
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 1, "{text}");
        let (_, class, message) = grid.outcome();
        assert_eq!(class, "wrong-headers", "{message}");
        assert!(
            message.contains("no package holds the build tree of kernel 6.6.30-acme"),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn generic_kernel_without_packages_is_refused() {
    let grid = Grid::new();
    for target in ["name = \"generic\"", "name = \"acme\"\ngeneric = true"] {
        grid.write_matrix(&matrix(target, "{ release = \"6.6.30-acme\" }"));
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("`headers`"), "{text}");
    }
}

/// The file in Falco's grid names the packages of two kernels; the kernel of the Raspberry Pi 3 and 4 is built.
#[test]
fn a_raspberry_pi_kernel_is_built_under_its_name_in_the_grid() {
    let grid = Grid::new();
    let (abi, version) = ("6.12.47+rpt", "6.12.47-1+rpt1");
    let config = CONFIG.replace("X86_64", "ARM64");
    let package = |name: &str, architecture: &str, files: &[(String, String)]| {
        let file = format!("{name}_{version}_{architecture}.deb");
        grid.write(&file, deb(&borrowed(files)));
        grid.path(&file).display().to_string()
    };
    let headers = |flavour: &str| {
        let name = format!("linux-headers-{abi}-{flavour}");
        let mut files = tree(&format!("usr/src/{name}"), &format!("{abi}-{flavour}"));
        files[1].1.clone_from(&config);
        package(&name, "arm64", &files)
    };
    let file = |path: String| vec![(path, "all:\n".to_owned())];
    let common = format!("linux-headers-{abi}-common-rpi");
    let kbuild = format!("linux-kbuild-{abi}");
    let packages = [
        package(&common, "all", &file(format!("usr/src/{common}/Makefile"))),
        headers("rpi-2712"),
        headers("rpi-v8"),
        package(
            &kbuild,
            "arm64",
            &file(format!("usr/lib/{kbuild}/scripts/x")),
        ),
    ];
    grid.write_matrix(&matrix(
        "name = \"debian\"\narchitectures = [\"arm64\"]",
        &format!("{{ release = \"{version}-rpi-arm64\", headers = {packages:?} }}"),
    ));
    grid.write(
        "own.ko",
        module_of(Architecture::Arm64, &format!("{abi}-rpi-v8")),
    );
    let made = json!({ "copies": { "module.ko": grid.path("own.ko") } });
    grid.fake(&[rule("module *", &made)]);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("its packages also contain 6.12.47+rpt-rpi-2712"),
        "{text}"
    );
    let module = format!("out/one/aarch64/scap_debian_{version}-rpi-arm64_1.ko");
    assert!(grid.path(&module).is_file(), "{text}");
}
