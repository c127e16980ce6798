//! One function for each fuzz target. A function gets arbitrary bytes and must never panic.

mod rpm_of;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

pub use rpm_of::rpm_of;

use driverkit_matrix::diagnostic::SourceFile;
use driverkit_matrix::discover::lock::Lock;
use driverkit_matrix::discover::{Context, discover};
use driverkit_matrix::kernel::Architecture;
use driverkit_matrix::matrix::Matrix;
use driverkit_matrix::report::read_manifest;
use driverkit_matrix::unpack::{self, unpack};
use driverkit_matrix::verify::{
    ExpectedModule, KernelTreeFacts, read_kernel_tree, verify_module, verify_probe,
};

/// Small limits: an input that only takes long to unpack stops at a limit, before the fuzzer's timeout.
fn limits() -> unpack::Limits {
    unpack::Limits {
        entries: 200,
        size_bytes: 4 << 20,
        ..unpack::Limits::default()
    }
}

/// Creates a temporary directory, in memory if possible: the targets write about a thousand files a second.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::Builder::new()
        .prefix("fuzz-")
        .tempdir_in(parent)
        .expect("a folder")
}

/// Unpacks an archive into `tree` of a new directory. Returns the directory, or `None` if the archive is invalid.
fn unpacked(archive: &[u8]) -> Option<tempfile::TempDir> {
    let folder = folder();
    let (file, tree) = (folder.path().join("archive"), folder.path().join("tree"));
    std::fs::write(&file, archive).expect("written");
    std::fs::create_dir(&tree).expect("made");
    unpack(&file, &tree, &limits()).ok().map(|_| folder)
}

/// Unpacks a Debian package.
pub fn deb(data: &[u8]) {
    unpacked(data);
}

/// Unpacks an rpm.
pub fn rpm(data: &[u8]) {
    unpacked(data);
}

/// Unpacks a tarball.
pub fn tar(data: &[u8]) {
    unpacked(data);
}

/// Unpacks a cpio archive, as the payload of an rpm with empty headers.
pub fn cpio(data: &[u8]) {
    unpacked(&rpm_of(data));
}

/// Unpacks a tarball and reads it as a header tree.
pub fn tree(data: &[u8]) {
    if let Some(folder) = unpacked(data) {
        // An error is a valid result: most inputs are not a header tree.
        drop(read_kernel_tree(folder.path(), Path::new("tree")));
    }
}

/// Checks a module. The input is the text of `Module.symvers`, a zero byte, and the module.
pub fn module(data: &[u8]) {
    let facts = KernelTreeFacts {
        uts_release: "6.1.0-50-rt-amd64".to_owned(),
        architecture: Some(Architecture::Amd64),
        gcc_version: Some("12".to_owned()),
        clang_version: None,
        has_symvers: true,
        vermagic_words: vec![("SMP".to_owned(), true), ("mod_unload".to_owned(), true)],
    };
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(0);
    let (symvers, module) = data.split_at(end);
    let module = module.strip_prefix(&[0]).unwrap_or(module);
    let symvers = String::from_utf8_lossy(symvers);
    for symvers in [None, Some(&*symvers)] {
        let expected = ExpectedModule {
            name: "falco",
            architecture: Architecture::Amd64,
            tree: &facts,
            symvers,
        };
        drop(verify_module(module, &expected));
    }
}

/// Checks a probe.
pub fn probe(data: &[u8]) {
    drop(verify_probe(data));
}

/// Reads the manifest of an earlier run.
pub fn manifest(data: &[u8]) {
    let folder = folder();
    let path = folder.path().join("manifest.json");
    std::fs::write(&path, data).expect("written");
    drop(read_manifest(&path));
}

/// Reads a kernel list of kernel-crawler, or a configuration file of driverkit if the first line is `driverkit`.
pub fn list(data: &[u8]) {
    static MATRICES: LazyLock<(tempfile::TempDir, [Matrix; 2])> = LazyLock::new(|| {
        let folder = folder();
        let matrices = ["crawler", "driverkit"].map(|name| {
            let kernels = match name {
                "crawler" => "{ from = \"kernel-crawler\", path = { amd64 = \"list\" } }",
                _ => "{ from = \"driverkit\", path = \"configs\" }",
            };
            let text = format!(
                "drivers = [\"one\"]\narchitectures = [\"amd64\"]\n\n[driver.\"one\"]\nsource = {{ path = \"x\" }}\n\n\
                 [[target]]\nname = \"*\"\nkernels = {kernels}\n"
            );
            let path = folder.path().join(format!("{name}.toml"));
            driverkit_matrix::matrix::read(Arc::new(SourceFile { path, text })).expect("a matrix")
        });
        std::fs::create_dir(folder.path().join("configs")).expect("made");
        (folder, matrices)
    });
    let (folder, [crawler, driverkit]) = &*MATRICES;
    let (matrix, path, data) = match data.strip_prefix(b"driverkit\n") {
        Some(data) => (driverkit, "configs/one.yaml", data),
        None => (crawler, "list", data),
    };
    std::fs::write(folder.path().join(path), data).expect("written");
    let mirrors = BTreeMap::new();
    let lists = driverkit_matrix::discover::SharedLists::default();
    let context = Context {
        lists: &lists,
        known: &driverkit_matrix::discover::KnownKernels::default(),
        mirrors: &mirrors,
        fetcher: None,
        first_seen: &|_| jiff::civil::Date::MIN,
        progress: &|_| {},
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for target in &matrix.targets {
        drop(runtime.block_on(discover(target, context)));
    }
}

/// Reads a lock. If it is valid, it is written and read again, and the result must be the same.
pub fn lock(data: &[u8]) {
    let folder = folder();
    let path = folder.path().join("matrix.lock");
    std::fs::write(&path, data).expect("written");
    if let Ok(Some(lock)) = Lock::read(&path) {
        let bytes = lock.to_bytes();
        std::fs::write(&path, &bytes).expect("written");
        let again = Lock::read(&path).expect("what was written can be read");
        assert_eq!(again.map(|lock| lock.to_bytes()), Some(bytes));
    }
}
