//! A module is loaded into an arm64 kernel in the compressed forms of distributions: compressed alone, and in an EFI
//! program.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use driverkit_matrix::fs;
use support::real::{Kernel, kernel, program};

use crate::proof::run;
use crate::targets::kernels::small_driver;

/// Returns the `Image` of a kernel from the package next to its headers.
fn image(kernel: &Kernel, folder: &Path) -> Vec<u8> {
    let uts = &kernel.uts_release;
    let headers = format!("linux-headers-{uts}_");
    let of_headers = kernel.urls.iter().find(|url| url.contains(&headers));
    let url = of_headers
        .unwrap()
        .replace(&headers, &format!("linux-image-{uts}-unsigned_"));
    let fetch = format!(
        "curl -sSfL -o kernel.deb {url} && dpkg-deb --fsys-tarfile kernel.deb | tar -xf - ./boot/vmlinuz-{uts}"
    );
    run(Command::new("bash")
        .args(["-ec", &fetch])
        .current_dir(folder));
    fs::read(&folder.join(format!("boot/vmlinuz-{uts}"))).unwrap()
}

/// Returns an EFI program that unpacks the kernel in it, with the layout of drivers/firmware/efi/libstub/zboot-header.S
/// in the kernel: its header, and the compressed kernel after the place of the code.
fn zboot(image: &[u8]) -> Vec<u8> {
    const CODE: u32 = 0x1_0000;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(image).unwrap();
    let payload = encoder.finish().unwrap();
    let mut program = Vec::new();
    program.extend(b"MZ\0\0zimg");
    for word in [CODE, u32::try_from(payload.len()).unwrap(), 0, 0] {
        program.extend(word.to_le_bytes());
    }
    program.extend(b"gzip\0");
    program.resize(0x38, 0);
    // The magic number of Linux EFI programs, and the offset of the following header.
    program.extend(0x8182_23cd_u32.to_le_bytes());
    program.extend(0x40_u32.to_le_bytes());
    program.extend(b"PE\0\0");
    program.resize(CODE.try_into().unwrap(), 0);
    program.extend(payload);
    program.resize(program.len().next_multiple_of(512), 0);
    program
}

/// Creates a package that contains this kernel.
fn package(folder: &Path, name: &str, kernel: &Kernel, content: &[u8]) {
    let root = folder.join(format!("root-{name}"));
    let control = format!(
        "Package: kernel-{name}\nVersion: 1\nArchitecture: arm64\nMaintainer: nobody <nobody@example.org>\nDescription: a kernel\n"
    );
    fs::write(&root.join("DEBIAN/control"), control).unwrap();
    let path = root.join(format!("boot/vmlinuz-{}", kernel.uts_release));
    fs::write(&path, content).unwrap();
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "--build"])
        .arg(&root)
        .arg(folder.join(format!("{name}.deb"))));
}

#[test]
fn a_module_is_loaded_into_compressed_arm64_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kernel = kernel(folder, "cloud", "arm64", "amd64");
    let image = image(&kernel, folder);
    package(folder, "zboot", &kernel, &zboot(&image));
    package(
        folder,
        "zstd",
        &kernel,
        &zstd::encode_all(&*image, 1).unwrap(),
    );
    fs::create_folder(&folder.join("driver")).unwrap();
    small_driver(&folder.join("driver"));
    for name in ["zboot", "zstd"] {
        let matrix = format!(
            "drivers = [\"1\"]\narchitectures = [\"arm64\"]\nartifacts = [\"module\"]\n\n\
             [driver.\"1\"]\nsource = {{ path = \"driver\" }}\n\n[[target]]\nname = \"debian\"\n\
             kernels = [{{ release = \"{}\", version = \"1\", headers = {:?}, image = \"{name}.deb\" }}]\n",
            kernel.release, kernel.urls
        );
        fs::write(&folder.join("matrix.toml"), matrix).unwrap();
        let output = program(folder)
            .args([
                "run",
                "matrix.toml",
                "--executor",
                "local",
                "--prove",
                "all",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {text}");
        let proven = "1 loaded, 0 refused, 0 not proven";
        assert!(text.contains(proven), "{name}: {text}");
    }
}
