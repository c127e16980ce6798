//! Signed modules, checked by other programs: kmod, the kernel's own sign-file, a token, and a kernel that accepts only
//! signed modules.

use std::path::{Path, PathBuf};
use std::process::Command;

use driverkit_matrix::fs;
use driverkit_matrix::sign::{Hash, Key, Settings, Signer, unsigned};

use crate::proof::{GOOD, compile, compile_for, kernel_image, release, run};
use support::signing::{certificate, openssl};
use support::workspace::Workspace;

/// Returns the sign-file of the kernel whose headers are installed.
fn sign_file() -> PathBuf {
    Path::new("/lib/modules")
        .join(release())
        .join("build/scripts/sign-file")
}

fn settings(folder: &Path, name: &str) -> Settings {
    Settings {
        key: Some(Key::File(folder.join(format!("{name}.key")))),
        certificate: folder.join(format!("{name}.pem")),
        hash: Hash::Sha256,
        command: Vec::new(),
        password: None,
    }
}

fn sign(settings: Settings, module: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let signed = runtime.block_on(async {
        let signer = Signer::open(settings).await?;
        signer.sign(module, folder.path()).await
    });
    signed.unwrap()
}

fn modinfo(module: &Path) -> String {
    let mut command = Command::new("/usr/sbin/modinfo");
    let output = command.arg(module).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Creates a softhsm token with the key `NAME.key` of a directory; returns the URI of the key.
fn token(folder: &Path, name: &str) -> String {
    let tokens = folder.join("tokens");
    std::fs::create_dir_all(&tokens).unwrap();
    let settings = format!("directories.tokendir = {}\n", tokens.display());
    fs::write(&folder.join("softhsm.conf"), settings).unwrap();
    let softhsm = |words: &str| {
        let mut command = Command::new("softhsm2-util");
        command.args(words.split(' ')).current_dir(folder);
        run(command.env("SOFTHSM2_CONF", folder.join("softhsm.conf")));
    };
    softhsm("--init-token --free --label drivers --pin 4711 --so-pin 1234");
    openssl(
        folder,
        &format!("pkcs8 -topk8 -nocrypt -in {name}.key -out {name}.p8"),
    );
    softhsm(&format!(
        "--import {name}.p8 --token drivers --label signing --id 01 --pin 4711"
    ));
    "pkcs11:token=drivers;object=signing".to_owned()
}

#[test]
fn sign_file_and_modinfo_agree_on_the_signature() {
    let workspace = Workspace::new();
    let folder = workspace.path();
    let module = folder.join(compile(&workspace, "good", GOOD));
    certificate(folder, "signing");
    let own = sign(settings(folder, "signing"), &module);
    let signed = folder.join("signed.ko");
    fs::write(&signed, &own).unwrap();

    let by_sign_file = folder.join("by-sign-file.ko");
    std::fs::copy(&module, &by_sign_file).unwrap();
    run(Command::new(sign_file())
        .args(["sha256", "signing.key", "signing.pem", "by-sign-file.ko"])
        .current_dir(folder));
    assert_eq!(own, fs::read(&by_sign_file).unwrap());

    let facts = modinfo(&signed);
    for line in [
        "sig_id:         PKCS#7",
        "signer:         signing",
        "sig_hashalgo:   sha256",
    ] {
        assert!(facts.contains(line), "{line} is not in:\n{facts}");
    }
    // The same with sign-file instead of openssl.
    let command = Settings {
        hash: Hash::Sha512,
        command: vec![sign_file().display().to_string()],
        ..settings(folder, "signing")
    };
    fs::write(&signed, sign(command, &module)).unwrap();
    assert!(modinfo(&signed).contains("sig_hashalgo:   sha512"));
}

#[test]
fn a_kernel_that_requires_signatures_refuses_unsigned_modules_and_unknown_keys() {
    let workspace = Workspace::new();
    let folder = workspace.path();
    let module = compile(&workspace, "good", GOOD);
    certificate(folder, "signing");
    let signed = sign(settings(folder, "signing"), &folder.join(&module));
    fs::write(&folder.join("signed.ko"), signed).unwrap();
    let image = kernel_image().to_str().unwrap();
    let path = PathBuf::from(std::env::var_os("PATH").unwrap());
    let prove = |more: &[&str]| {
        let words = [
            &["prove", &module, "signed.ko", "--kernel-image", image],
            more,
        ]
        .concat();
        workspace.run_with(&words, &[("PATH", &path)])
    };
    // A kernel that does not require signatures accepts a signed module.
    let report = prove(&[]);
    assert!(report.contains("signed.ko: loaded"), "{report}");
    // The kernel's messages are notices, which the console does not show by default.
    let report = prove(&[
        "--kernel-parameter",
        "module.sig_enforce=1",
        "--kernel-parameter",
        "ignore_loglevel",
    ]);
    for text in [
        "good/good.ko: refused, error 129: Loading of unsigned module is rejected",
        // The key is not enrolled in Debian's kernel.
        "signed.ko: refused, error 129: Loading of module with unavailable key is rejected",
    ] {
        assert!(report.contains(text), "{text} is not in:\n{report}");
    }
}

/// Builds a kernel, which takes minutes; runs with `make test-enrolled-kernel`.
#[test]
#[ignore = "builds a kernel: make test-enrolled-kernel"]
fn a_kernel_with_an_enrolled_key_loads_only_modules_signed_with_it() {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("enrolled-kernel");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/enrolled-kernel.sh");
    run(Command::new(script).arg(&built));
    let workspace = Workspace::new();
    let folder = workspace.path();
    let tree = built.join("linux");
    let module = compile_for(&workspace, &tree.display().to_string(), "good", GOOD);
    certificate(folder, "other");
    // The build of the tree does not sign modules outside of the tree.
    assert_eq!(
        unsigned(&fs::read(&folder.join(&module)).unwrap()),
        fs::read(&folder.join(&module)).unwrap()
    );
    for (name, keys) in [("enrolled", built.as_path()), ("other", folder)] {
        let signed = sign(settings(keys, name), &folder.join(&module));
        fs::write(&folder.join(format!("{name}.ko")), signed).unwrap();
    }
    let image = tree.join("arch/x86/boot/bzImage");
    let path = PathBuf::from(std::env::var_os("PATH").unwrap());
    let words = [
        "prove",
        &module,
        "other.ko",
        "enrolled.ko",
        "--kernel-image",
        image.to_str().unwrap(),
        "--kernel-parameter",
        "module.sig_enforce=1",
        "--kernel-parameter",
        "ignore_loglevel",
    ];
    let report = workspace.run_with(&words, &[("PATH", &path)]);
    for text in [
        "good/good.ko: refused, error 129: Loading of unsigned module is rejected",
        "other.ko: refused, error 129: Loading of module with unavailable key is rejected",
        "enrolled.ko: loaded",
    ] {
        assert!(report.contains(text), "{text} is not in:\n{report}");
    }
}

/// Builds a grid of one real kernel, whose modules are signed with a token.
#[test]
fn a_module_that_run_signs_with_a_token_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sources = support::real::vendor().join("falcosecurity-scap-dkms-0.20.0");
    certificate(folder.path(), "signing");
    let uri = token(folder.path(), "signing");
    let matrix = format!(
        "drivers = [\"0.20.0\"]\narchitectures = [\"amd64\"]\nartifacts = [\"module\"]\n\n[driver.\"0.20.0\"]\n\
         source = {{ path = {sources:?} }}\nmodule_name = \"scap\"\n\n\
         [signing]\nkey = \"{uri}\"\ncertificate = \"signing.pem\"\npassword = \"TOKEN_PIN\"\n\n[[target]]\nname = \"debian\"\n\
         kernels = {{ from = \"mirror\", suites = [\"bookworm\"], flavours = [\"cloud\"], latest = 1 }}\n"
    );
    fs::write(&path("matrix.toml"), matrix).unwrap();
    let run = |pin: &str| {
        let output = support::real::program(folder.path())
            .args(["run", "matrix.toml", "--executor", "local"])
            .args(["--toolchain", "host", "--prove", "series"])
            .env("SOFTHSM2_CONF", path("softhsm.conf"))
            .env("PKCS11_MODULE_PATH", "/usr/lib/softhsm/libsofthsm2.so")
            .env("TOKEN_PIN", pin)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = run("0815");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("matrix.toml:"), "{text}");
    assert!(!text.contains("0815"), "{text}");
    let (code, text) = run("4711");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 loaded, 0 refused"), "{text}");
    let manifest = driverkit_matrix::report::read_manifest(&path("out/manifest.json")).unwrap();
    let artifact = &manifest.builds[0].artifacts[0];
    let module = path("out").join(artifact.path.as_ref().unwrap());
    let signed = fs::read(&module).unwrap();
    assert!(modinfo(&module).contains("signer:         signing"));
    // Signing with the key file gives the same bytes.
    let plain = path("plain.ko");
    fs::write(&plain, unsigned(&signed)).unwrap();
    assert_eq!(sign(settings(folder.path(), "signing"), &plain), signed);
}
