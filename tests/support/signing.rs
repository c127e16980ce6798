//! Keys and certificates, made by openssl.

use std::path::Path;
use std::process::Command;

use driverkit_matrix::fs;

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

/// Makes `NAME.key` and its certificate `NAME.pem` in a directory: RSA, valid for a month.
pub fn certificate(folder: &Path, name: &str) {
    key(folder, name);
    let words = format!("req -x509 -new -key {name}.key -subj /CN={name} -days 30 -out {name}.pem");
    openssl(folder, &words);
}

/// The same with a certificate that was valid in January 2020.
pub fn expired_certificate(folder: &Path, name: &str) {
    key(folder, name);
    // Only a certificate authority chooses both days.
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
    let words =
        format!("genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {name}.key");
    openssl(folder, &words);
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
