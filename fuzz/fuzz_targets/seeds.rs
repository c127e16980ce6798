//! Writes a few small inputs for each target into the directory named by the argument, made from the test data of this
//! repository. This program does not use the fuzz library, whose coverage counters need libFuzzer.

use std::path::PathBuf;

#[path = "../src/rpm_of.rs"]
mod rpm_of;

use rpm_of::rpm_of;

fn main() {
    let into = PathBuf::from(std::env::args_os().nth(1).expect("a folder"));
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let read = |name: &str| std::fs::read(data.join(name)).expect("test data");
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = into.join(target);
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join(name), bytes).expect("written");
    };
    let tree = tarball();
    put("tar", "tree", &tree);
    put("tree", "tree", &tree);
    put("deb", "tree", &deb("data.tar", &tree));
    let cpio = cpio();
    put("cpio", "tree", &cpio);
    put("rpm", "tree", &rpm_of(&cpio));
    put("rpm", "headers", &rpm_with_values(&cpio));
    for name in ["6.1-rt-amd64.ko", "6.12-rt-amd64.ko"] {
        let symvers = "0x8c8569cb\tkstrtoint\tvmlinux\tEXPORT_SYMBOL\n\0";
        let module = read(&format!("artifacts/{name}"));
        put("module", name, &[symvers.as_bytes(), &module].concat());
    }
    put("probe", "probe", &read("artifacts/probe.o"));
    put("manifest", "v1", &read("manifest-v1.json"));
    let list = read("kernel-list-x86_64.json");
    put("list", "crawler", &list);
    put(
        "list",
        "driverkit",
        b"driverkit\nkernelversion: 1\nkernelrelease: 6.1.0-1-amd64\ntarget: debian\narchitecture: amd64\nkernelurls:\n  - http://127.0.0.1/a.deb\n",
    );
    put("lock", "lock", LOCK.as_bytes());
}

/// Returns a tarball with a header tree: a few files and a link.
fn tarball() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files() {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .expect("memory");
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, "build", ".")
        .expect("memory");
    builder.into_inner().expect("memory")
}

fn files() -> [(&'static str, &'static str); 4] {
    [
        (
            ".config",
            "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n",
        ),
        (
            "include/generated/utsrelease.h",
            "#define UTS_RELEASE \"6.1.0-1-amd64\"\n",
        ),
        ("Makefile", "VERSION = 6\n"),
        (
            "Module.symvers",
            "0x8c8569cb\tkstrtoint\tvmlinux\tEXPORT_SYMBOL\n",
        ),
    ]
}

fn deb(name: &str, data: &[u8]) -> Vec<u8> {
    let mut package = b"!<arch>\n".to_vec();
    for (name, content) in [
        ("debian-binary", &b"2.0\n"[..]),
        ("control.tar", b""),
        (name, data),
    ] {
        let length = content.len();
        let line = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n",
            0, 0, 0, "100644"
        );
        package.extend(line.into_bytes());
        package.extend(content);
    }
    package
}

fn cpio() -> Vec<u8> {
    let mut archive = Vec::new();
    let mut add = |name: &str, mode: u32, content: &[u8]| {
        let numbers = [
            1,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        archive.extend(b"070701");
        for number in numbers {
            archive.extend(format!("{number:08x}").into_bytes());
        }
        archive.extend(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    for (name, content) in files() {
        add(&format!("./{name}"), 0o100_644, content.as_bytes());
    }
    add("./build", 0o120_777, b".");
    add("TRAILER!!!", 0, b"");
    archive
}

/// Returns an rpm whose header describes one file: numbers, and two lists of strings.
fn rpm_with_values(payload: &[u8]) -> Vec<u8> {
    let values: [(u32, u32, u32, &[u8]); 4] = [
        (1028, 4, 1, &[0, 0, 0, 12]),
        (1116, 4, 1, &[0, 0, 0, 0]),
        (1117, 8, 1, b"Makefile\0"),
        (1118, 8, 1, b"/usr/src/\0"),
    ];
    let (mut index, mut store) = (Vec::new(), Vec::new());
    for (tag, kind, count, bytes) in values {
        for number in [tag, kind, store.len() as u32, count] {
            index.extend(number.to_be_bytes());
        }
        store.extend(bytes);
    }
    let plain = rpm_of(b"");
    let mut package = plain[..112].to_vec();
    package.extend([0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0]);
    package.extend((values.len() as u32).to_be_bytes());
    package.extend((store.len() as u32).to_be_bytes());
    [package, index, store, payload.to_vec()].concat()
}

/// A lock with two kernels, in the format that the program writes.
const LOCK: &str = r#"{"lock":1,"sources":{"*":"1f7630d899dcba3785654af21322a2c8853722810228d473f558cfd5513e9d72"}}
{"target":"centos","release":"5.4.1-1","version":"1","architecture":"amd64","entry":"*","packages":[{"url":"http://127.0.0.1/centos-1.rpm"}],"source":"kernel-crawler","first_seen":"2019-02-28"}
{"target":"minikube","release":"5.10.57","version":"1_1.26.0","architecture":"amd64","entry":"*","packages":[],"source":"kernel-crawler","first_seen":"2019-02-28","gone":"2020-01-01"}
"#;
