//! Modules and probes are loaded into a real kernel booted by qemu: good ones, and ones that are broken on purpose.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use driverkit_matrix::fs;
use object::write::{Object, Relocation, Symbol, SymbolSection};
use object::{BinaryFormat, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use support::workspace::Workspace;

pub(crate) const GOOD: &str = "static int __init start(void) { return 0; }";
const UNKNOWN_SYMBOL: &str = "extern int exported_by_nobody(void); static int __init start(void) { return exported_by_nobody(); }";
const OOPS: &str = "static int __init start(void) { *(volatile int *)8 = 1; return 0; }";
const ENDLESS: &str = "static int __init start(void) { for (;;) msleep(1000); return 0; }";

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

/// Whether the mirror still has the package of a kernel.
fn is_published(release: &str) -> bool {
    let output = Command::new("apt-cache")
        .args(["show", &format!("linux-image-{release}")])
        .output()
        .unwrap();
    output.status.success()
}

/// Returns the newest kernel whose headers are installed and whose own package is available.
pub(crate) fn release() -> String {
    let mut releases: Vec<String> = std::fs::read_dir("/lib/modules")
        .expect("kernel headers must be installed (scripts/setup.sh --tests)")
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("build").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|release| is_published(release))
        .collect();
    releases.sort();
    releases.pop().expect(
        "the installed headers must be of a kernel on the mirror (scripts/setup.sh --tests)",
    )
}

/// Returns the image of that kernel, extracted from its package.
pub(crate) fn kernel_image() -> &'static Path {
    static FOLDER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, image) = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let release = release();
        let fetch = format!(
            "apt-get download -qq -o APT::Sandbox::User=root linux-image-{release} >/dev/null && \
             dpkg-deb --fsys-tarfile linux-image-*.deb | tar -xf - ./boot/vmlinuz-{release} && rm linux-image-*.deb"
        );
        run(Command::new("sh").args(["-ec", &fetch]).current_dir(folder.path()));
        let image = folder.path().join(format!("boot/vmlinuz-{release}"));
        (folder, image)
    });
    image
}

/// Compiles a module against the installed headers.
pub(crate) fn compile(workspace: &Workspace, name: &str, start: &str) -> String {
    let headers = format!("/lib/modules/{}/build", release());
    compile_for(workspace, &headers, name, start)
}

/// Compiles a module against a kernel tree.
pub(crate) fn compile_for(workspace: &Workspace, headers: &str, name: &str, start: &str) -> String {
    let text = format!(
        "#include <linux/module.h>\n#include <linux/delay.h>\n{start}\nstatic void __exit stop(void) {{}}\n\
         module_init(start);\nmodule_exit(stop);\nMODULE_LICENSE(\"GPL\");\n"
    );
    workspace.put(&format!("{name}/{name}.c"), &text);
    workspace.put(&format!("{name}/Makefile"), &format!("obj-m := {name}.o\n"));
    let folder = workspace.path().join(name);
    run(Command::new("make")
        .args(["-s", "-C", headers, "KBUILD_MODPOST_WARN=1"])
        .arg(format!("M={}", folder.display()))
        .arg("modules"));
    format!("{name}/{name}.ko")
}

fn prove(workspace: &Workspace, image: &Path, modules: &[String], timeout: &str) -> String {
    let image = image.to_str().unwrap();
    let mut arguments = vec!["prove", "--kernel-image", image, "--timeout", timeout];
    arguments.extend(modules.iter().map(String::as_str));
    let path = PathBuf::from(std::env::var_os("PATH").unwrap());
    workspace.run_with(&arguments, &[("PATH", &path)])
}

#[test]
fn the_kernel_accepts_good_modules_and_refuses_bad_ones() {
    let workspace = Workspace::new();
    let mut modules = vec![
        compile(&workspace, "good", GOOD),
        compile(&workspace, "unknown", UNKNOWN_SYMBOL),
        compile(&workspace, "oops", OOPS),
        compile(&workspace, "after", GOOD),
    ];
    // As if compiled with the headers of another flavour. With CRCs, the kernel compares everything except the release.
    let mut flavour = fs::read(&workspace.path().join(&modules[0])).unwrap();
    let word = b" SMP ";
    let place = flavour
        .windows(word.len())
        .position(|bytes| bytes == word)
        .unwrap();
    flavour[place + 1] = b'U';
    fs::write(&workspace.path().join("flavour.ko"), flavour).unwrap();
    modules.insert(1, "flavour.ko".to_owned());

    let report = prove(&workspace, kernel_image(), &modules, "5m");
    let expected = [
        "exit 1\n",
        "good/good.ko: loaded (0 devices, 0 parameters)\n",
        "flavour.ko: refused, error 8: good: version magic '",
        "unknown/unknown.ko: refused, error 2: ",
        "Unknown symbol exported_by_nobody (err -2)",
        "oops/oops.ko: the kernel crashed: BUG: kernel NULL pointer dereference",
        "after/after.ko: loaded (0 devices, 0 parameters)\n",
    ];
    for text in expected {
        assert!(report.contains(text), "{text} is not in:\n{report}");
    }
}

#[test]
fn a_module_that_never_returns_is_stopped() {
    let workspace = Workspace::new();
    let modules = [compile(&workspace, "endless", ENDLESS)];
    let report = prove(&workspace, kernel_image(), &modules, "2m");
    let expected = "endless/endless.ko: the boot ended during or after step `load`\n";
    assert!(report.contains(expected), "{report}");
}

#[test]
fn an_image_that_does_not_boot_is_no_failure_of_the_module() {
    let workspace = Workspace::new();
    let modules = [compile(&workspace, "good", GOOD)];
    workspace.put("image", "not a kernel");
    let report = prove(&workspace, Path::new("image"), &modules, "1m");
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert!(
        report.contains("did not reach the init program"),
        "{report}"
    );
}

/// Returns a probe with one map and one program under two names; the instruction at `of_map` loads the map.
fn probe(release: &str, section: &str, instructions: &[[u8; 8]], of_map: Option<u64>) -> Vec<u8> {
    let mut file = Object::new(
        BinaryFormat::Elf,
        object::Architecture::Bpf,
        object::Endianness::Little,
    );
    let mut add = |name: &str, content: &[u8], kind| {
        let id = file.add_section(Vec::new(), name.into(), kind);
        file.append_section_data(id, content, 8);
        id
    };
    add("license", b"GPL\0", SectionKind::Data);
    add(
        "kernel_version",
        format!("{release}\0").as_bytes(),
        SectionKind::Data,
    );
    // An array with 4-byte keys and values and one entry for each processor.
    let definition: Vec<u8> = [2_u32, 4, 4, 0, 0, 0, 0]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    let maps = add(section, &definition, SectionKind::Data);
    let code = instructions.concat();
    let programs = ["raw_tracepoint/sys_enter", "raw_tracepoint/sys_exit"]
        .map(|name| add(name, &code, SectionKind::Text));
    let map = file.add_symbol(Symbol {
        name: b"a_map".to_vec(),
        value: 0,
        size: 28,
        kind: SymbolKind::Data,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(maps),
        flags: SymbolFlags::None,
    });
    let places = of_map.into_iter();
    for (program, offset) in places.flat_map(|offset| programs.map(|program| (program, offset))) {
        let relocation = Relocation {
            offset,
            symbol: map,
            addend: 0,
            flags: RelocationFlags::Elf {
                r_type: object::elf::R_BPF_64_64,
            },
        };
        file.add_relocation(program, relocation).unwrap();
    }
    file.write().unwrap()
}

#[test]
fn the_verifier_accepts_good_probes_and_refuses_bad_ones() {
    const RETURN: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    // Looks up entry 0 of the map: r1 = map; r2 = r10 - 4; *(u32 *)r2 = 0; call 1.
    const LOOK_UP: [[u8; 8]; 6] = [
        [0x18, 1, 0, 0, 0, 0, 0, 0],
        [0; 8],
        [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
        [0x07, 2, 0, 0, 0xfc, 0xff, 0xff, 0xff],
        [0x62, 2, 0, 0, 0, 0, 0, 0],
        [0x85, 0, 0, 0, 1, 0, 0, 0],
    ];
    // r0 = r3, which is not initialized.
    const UNSET: [[u8; 8]; 2] = [[0xbf, 0x30, 0, 0, 0, 0, 0, 0], RETURN[1]];
    let workspace = Workspace::new();
    let release = release();
    let put = |name: &str, content: Vec<u8>| {
        fs::write(&workspace.path().join(name), content).unwrap();
        name.to_owned()
    };
    let with_map = [&LOOK_UP[..], &RETURN].concat();
    let files = [
        put("unset.o", probe(&release, "maps", &UNSET, None)),
        put("good.o", probe(&release, "maps", &with_map, Some(0))),
        put("other.o", probe("6.1.0-1-other", "maps", &RETURN, None)),
        put("btf.o", probe(&release, ".maps", &RETURN, None)),
        compile(&workspace, "good", GOOD),
    ];
    let report = prove(&workspace, kernel_image(), &files, "5m");
    let expected = [
        "exit 3\n",
        "unset.o: refused, error 13: raw_tracepoint/sys_enter and 1 like it: R3 !read_ok\n",
        "good.o: loaded (2 programs, 1 maps)\n",
        "other.o: refused, error 8: it was compiled for 6.1.0-1-other\n",
        "btf.o: not proven: this layout of a probe cannot be loaded: its maps are defined by BTF",
        "good/good.ko: loaded (0 devices, 0 parameters)\n",
    ];
    for text in expected {
        assert!(report.contains(text), "{text} is not in:\n{report}");
    }
    // If no module gives the architecture, it is that of the kernel.
    let report = prove(&workspace, kernel_image(), &files[1..2], "5m");
    assert!(report.starts_with("exit 0\n"), "{report}");
}

/// Builds the legacy probe of a real driver and loads it into its kernel.
#[test]
fn run_loads_a_real_probe_into_its_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let sources = support::real::vendor().join("falcosecurity-libs-0.20.0");
    let matrix = format!(
        "drivers = [\"0.20.0+driver\"]\narchitectures = [\"amd64\"]\nartifacts = [\"probe\"]\n\n\
         [driver.\"0.20.0+driver\"]\nsource = {{ path = {sources:?} }}\n\n[[target]]\nname = \"debian\"\n\
         kernels = {{ from = \"mirror\", suites = [\"bookworm\"], flavours = [\"cloud\"], latest = 1 }}\n"
    );
    fs::write(&folder.path().join("matrix.toml"), matrix).unwrap();
    let output = support::real::program(folder.path())
        .args(["run", "matrix.toml", "--executor", "local"])
        .args(["--prove", "all"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 loaded, 0 refused, 0 not proven"), "{text}");
    let csv = fs::read_to_string(&folder.path().join("out/manifest.csv")).unwrap();
    assert!(csv.contains(" programs, "), "{csv}");
}

/// `prove` loads what `run` built for a grid of one real kernel.
#[test]
fn prove_loads_a_real_driver_into_its_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let sources = support::real::vendor().join("falcosecurity-scap-dkms-0.20.0");
    let matrix = format!(
        "drivers = [\"0.20.0\"]\narchitectures = [\"amd64\"]\nartifacts = [\"module\"]\n\n[driver.\"0.20.0\"]\n\
         source = {{ path = {sources:?} }}\nmodule_name = \"scap\"\n\n[[target]]\nname = \"debian\"\n\
         kernels = {{ from = \"mirror\", suites = [\"bookworm\"], flavours = [\"cloud\"], latest = 1 }}\n"
    );
    fs::write(&folder.path().join("matrix.toml"), matrix).unwrap();
    let say = |words: &[&str]| {
        let output = support::real::program(folder.path())
            .args(words)
            .args(["matrix.toml", "--executor", "local", "--toolchain", "host"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = say(&["prove"]);
    assert!(
        text.contains("`driverkit-matrix lock matrix.toml`"),
        "{text}"
    );
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = say(&["run"]);
    assert_eq!(code, Some(0), "{text}");
    // The index names the package of the kernel and its digest.
    let lock = fs::read_to_string(&folder.path().join("matrix.lock")).unwrap();
    assert!(lock.contains("\"image\":{\"url\":"), "{lock}");
    let loaded = "artifacts proven in their kernels: 1 loaded, 0 refused, 0 not proven";
    let (code, text) = say(&["prove"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(loaded), "{text}");
    let (code, text) = say(&["run", "--prove", "series"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("no job is started"), "{text}");
    assert!(text.contains(loaded), "{text}");
}
