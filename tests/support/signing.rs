//! Keys and certificates created by openssl.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use driverkit_matrix::fs;

/// Options of `openssl genpkey` for an RSA key.
pub const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";

/// The created keys, by kind and name.
static KEYS: Mutex<BTreeMap<(String, String), Vec<u8>>> = Mutex::new(BTreeMap::new());

/// Runs openssl in a directory.
pub fn openssl(folder: &Path, words: &str) {
    let output = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl is installed (scripts/setup.sh --tests)");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {words}: {text}");
}

/// Creates `NAME.key` and its certificate `NAME.pem` in a directory: RSA, valid for a month.
pub fn certificate(folder: &Path, name: &str) {
    key(folder, name);
    let words = format!("req -x509 -new -key {name}.key -subj /CN={name} -days 30 -out {name}.pem");
    openssl(folder, &words);
}

/// Creates a key with a certificate that was valid in January 2020.
pub fn expired_certificate(folder: &Path, name: &str) {
    key(folder, name);
    // Only a certificate authority can set both dates.
    let authority = format!(
        "[ca]\ndefault_ca=own\n[own]\ndatabase={name}.index\nnew_certs_dir=.\ndefault_md=sha256\npolicy=any\n\
         rand_serial=yes\n[any]\ncommonName=supplied\n"
    );
    fs::write(&folder.join(format!("{name}.cnf")), authority).expect("written");
    fs::write(&folder.join(format!("{name}.index")), "").expect("written");
    let request = format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr");
    openssl(folder, &request);
    let words = format!(
        "ca -batch -selfsign -config {name}.cnf -keyfile {name}.key -in {name}.csr -startdate 20200101000000Z \
         -enddate 20200201000000Z -notext -out {name}.pem"
    );
    openssl(folder, &words);
}

fn key(folder: &Path, name: &str) {
    new_key(folder, RSA, name);
}

/// Creates `NAME.key` in a directory with these options of `openssl genpkey`. Keys of one name are equal in all
/// directories of a process, since creating keys is slow; a second key of the name in the same directory is new.
pub fn new_key(folder: &Path, kind: &str, name: &str) {
    let path = folder.join(format!("{name}.key"));
    let make = || openssl(folder, &format!("genpkey -quiet {kind} -out {name}.key"));
    if path.exists() {
        return make();
    }
    let mut keys = KEYS.lock().expect("no test panics while it holds the keys");
    let known = keys.entry((kind.to_owned(), name.to_owned()));
    let key = known.or_insert_with(|| {
        make();
        fs::read(&path).expect("openssl wrote it")
    });
    fs::write(&path, key).expect("written");
    // The program refuses a key that other users can read.
    let own = Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, own).expect("an own file");
}

/// Asserts that no file below a directory contains one of these secrets.
pub fn assert_nowhere(folder: &Path, secrets: &[&str]) {
    let mut grep = Command::new("grep");
    grep.arg("-rlF");
    for secret in secrets {
        grep.args(["-e", secret]);
    }
    let output = grep.arg(folder).output().expect("grep is installed");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "",
        "{}",
        folder.display()
    );
}
