//! Tests of Flatcar, whose list of packages and kernel configuration come from a server.

use driverkit_matrix::fs;
use driverkit_matrix::report::read_log;
use serde_json::json;

use crate::run::NOTHING;
use support::grid::{Grid, module, rule, tarball};
use support::server::Server;

const UTS_RELEASE: &str = "6.1.55-flatcar";

const PUBLISHED: &str = "amd64-usr/3815.2.0";

/// A configuration as a kernel writes it, with comments at the start.
const CONFIGURATION: &str = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.55-flatcar Kernel Configuration\n\
     #\nCONFIG_X86_64=y\nCONFIG_GCC_VERSION=110300\n";

/// A grid with one Flatcar kernel, and a server with the files of the stable channel and kernel.org from `served`.
fn grid() -> (Grid, Server) {
    let grid = Grid::new();
    let list = "sys-devel/gcc-11.3.0::x\nsys-kernel/coreos-kernel-6.1.55::coreos\n";
    grid.write(
        &format!("served/stable/{PUBLISHED}/flatcar_production_image_packages.txt"),
        list,
    );
    grid.write(&configuration("stable"), CONFIGURATION);
    let source = [
        ("linux-6.1.55/Makefile", "VERSION = 6\n"),
        ("linux-6.1.55/Kbuild", "\n"),
    ];
    // The file has the name of the real archive but is not compressed: its first bytes tell the format.
    grid.write("served/kernel/v6.x/linux-6.1.55.tar.xz", tarball(&source));
    grid.write("module.ko", module(UTS_RELEASE));
    let server = Server::of(&grid.path("served"));
    let address = &server.address;
    grid.write_matrix(&format!(
        r#"
drivers = ["one"]
architectures = ["amd64"]
artifacts = ["module"]

[[target]]
name = "flatcar"
kernels = [{{ release = "3815.2.0" }}]

[driver."one"]
source = {{ path = "driver" }}
module_name = "scap"

[mirrors]
"https://stable.release.flatcar-linux.net" = ["{address}/stable"]
"https://beta.release.flatcar-linux.net" = ["{address}/beta"]
"https://alpha.release.flatcar-linux.net" = ["{address}/alpha"]
"https://lts.release.flatcar-linux.net" = ["{address}/lts"]
"https://cdn.kernel.org/pub/linux/kernel" = ["{address}/kernel"]
offline = true

[defaults]
retries = 0
"#
    ));
    let file = |name: &str| format!("tree/usr/src/linux-{UTS_RELEASE}/{name}");
    grid.fake(&[rule(
        "prepare *",
        &json!({ "outputs": {
            file(".config"): "CONFIG_X86_64=y\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n",
            file("include/generated/utsrelease.h"): format!("#define UTS_RELEASE \"{UTS_RELEASE}\"\n"),
        }}),
    )]);
    (grid, server)
}

fn configuration(channel: &str) -> String {
    format!("served/{channel}/{PUBLISHED}/flatcar_production_image_kernel_config.txt")
}

#[test]
fn the_configuration_published_by_flatcar_is_fetched_and_bundled() {
    let (grid, server) = grid();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["check", "module", "prepare"]);
    let record = grid.record();
    assert_eq!(record.toolchain.as_ref().unwrap().gcc_used, "11");
    let asked = server.requests();
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(server.requests(), asked);

    // The bundle contains list, configuration and source; another machine needs nothing else for the same build.
    let carried = |words: &[&str]| {
        let output = grid.program(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
        text
    };
    let text = carried(&["bundle", "export", "b.tar", "matrix.toml"]);
    assert!(text.contains("wrote 3 files"), "{text}");
    let text = carried(&["--cache", "other", "bundle", "import", "b.tar"]);
    assert!(text.contains("imported 3 files"), "{text}");
    fs::remove_folder(&grid.path("served")).unwrap();
    let (code, text) = grid.run(&["--cache", "other", "--out", "elsewhere"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["check", "module", "prepare"]);
    assert_eq!(server.requests(), asked);
    let name = "one/x86_64/scap_flatcar_3815.2.0_1.ko";
    assert_eq!(
        fs::read(&grid.path("out").join(name)).unwrap(),
        fs::read(&grid.path("elsewhere").join(name)).unwrap()
    );
}

#[test]
fn a_release_in_no_channel_lists_all_urls_in_its_log() {
    let (grid, _server) = grid();
    fs::remove_folder(&grid.path("served")).unwrap();
    assert_eq!(grid.run(&[]).0, 1);
    let (_, class, message) = grid.outcome();
    assert_eq!(class, "headers-not-found");
    assert!(
        message.contains("stable") && !message.contains("beta"),
        "{message}"
    );
    let log = grid.record().artifacts[0].log.clone().expect("a log");
    let log = read_log(&grid.path("out").join(log)).unwrap();
    assert!(log.contains("/beta/amd64-usr/3815.2.0/"), "{log}");
}

#[test]
fn a_page_with_status_200_is_not_accepted_as_a_configuration() {
    let (grid, _server) = grid();
    let page = "<!DOCTYPE html><html>\nCONFIG_X86_64=y\n</html>";
    grid.write(&configuration("stable"), page);
    // The second run must not find the page in the store either.
    for _ in 0..2 {
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 1, "{text}");
        let (_, class, message) = grid.outcome();
        assert_eq!(class, "download");
        assert!(
            message.contains("config.txt") && message.contains("HTML page"),
            "{message}"
        );
    }
    assert_eq!(grid.jobs(), NOTHING);

    // A release can be in another channel than its number says: the next channel is tried.
    grid.write(&configuration("alpha"), CONFIGURATION);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");

    let (grid, _server) = self::grid();
    grid.write(&configuration("stable"), "no such release\n");
    assert_eq!(grid.run(&[]).0, 1);
    let (_, class, message) = grid.outcome();
    assert_eq!(class, "download");
    assert!(message.contains("kernel configuration"), "{message}");
}

#[test]
fn truncated_configurations_and_lists_are_download_errors_and_not_cached() {
    let (grid, _server) = grid();
    let list = format!("served/stable/{PUBLISHED}/flatcar_production_image_packages.txt");
    let whole_list = fs::read_to_string(&grid.path(&list)).unwrap();
    let marked =
        format!("{CONFIGURATION}# end of Printing\nCONFIG_MODULES=y\n# end of Kernel hacking\n");
    let until_modules = marked.split("# end of Kernel").next().unwrap();
    for (file, cut, whole) in [
        (
            configuration("stable"),
            &CONFIGURATION[..CONFIGURATION.len() - 3],
            CONFIGURATION,
        ),
        (configuration("stable"), until_modules, &marked),
        (list, &whole_list[..whole_list.len() - 12], &whole_list),
    ] {
        std::fs::remove_dir_all(grid.path("cache")).ok();
        std::fs::remove_dir_all(grid.path("out")).ok();
        grid.write(&file, cut);
        let (code, text) = grid.run(&[]);
        let (_, class, message) = grid.outcome();
        assert_eq!((code, class.as_str()), (1, "download"), "{message}: {text}");
        grid.write(&file, whole);
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{text}");
    }
}
