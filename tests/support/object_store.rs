//! Real object store servers, each with a bucket `builds`, its own port on this machine and its own data directory.
//!
//! A server ends with the thread that started it, even if that thread is killed. Its memory and files are limited. The
//! next test removes the data of a killed test.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driverkit_matrix::bucket::BucketSettings;

pub const KEY: &str = "planted-key-id";
pub const SECRET: &str = "planted-secret-key";

/// azurite's public default account.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The memory limit of a server, and the size limit of a file.
const MEMORY_BYTES: u64 = 4 << 30;
const FILE_BYTES: u64 = 2 << 30;

/// The address on which only this machine reaches a server.
const LOOPBACK: &str = "127.0.0.1:0";

/// The prefix of the servers' directories; the ID of the creating process follows.
const PREFIX: &str = "object-store-";

/// A server, which is stopped on drop.
pub struct ObjectStore {
    process: Child,
    address: SocketAddr,
    kind: &'static str,
    folder: tempfile::TempDir,
    /// The directory in which a versioned bucket keeps replaced objects.
    versions: Option<tempfile::TempDir>,
}

/// Removes the data of servers whose tests were killed.
fn sweep() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter();
    for entry in entries.flatten().flatten() {
        let name = entry.file_name();
        let made_by = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if made_by.is_some_and(|made_by| !Path::new("/proc").join(made_by).exists()) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

fn s3_arguments(command: &mut Command, address: SocketAddr, folder: &Path) {
    std::fs::create_dir(folder.join("builds")).unwrap();
    command.args(["--port", &address.to_string(), "--access", KEY]);
    command.args(["--secret", SECRET, "--quiet"]);
}

impl ObjectStore {
    /// Starts versitygw, which checks every signature.
    pub fn s3() -> Self {
        Self::s3_with(|_| ())
    }

    /// Starts versitygw at another address of this machine, with a free port.
    pub fn s3_at(address: &str) -> Self {
        Self::start("s3", address, |command, address, folder| {
            s3_arguments(command, address, folder);
            command.arg("posix").arg(folder);
        })
    }

    /// Starts versitygw with further arguments before `posix`.
    pub fn s3_with(arguments: impl FnOnce(&mut Command)) -> Self {
        Self::start("s3", LOOPBACK, |command, address, folder| {
            s3_arguments(command, address, folder);
            arguments(command);
            command.arg("posix").arg(folder);
        })
    }

    /// Starts azurite, which checks every signature. The container does not exist yet.
    pub fn azure() -> Self {
        Self::start("azure", LOOPBACK, |command, address, folder| {
            command.args(["--blobHost", "127.0.0.1", "--blobPort"]);
            command.arg(address.port().to_string());
            command.args(["--silent", "--skipApiVersionCheck", "--location"]);
            command.arg(folder);
        })
    }

    fn start(
        kind: &'static str,
        address: &str,
        arguments: impl FnOnce(&mut Command, SocketAddr, &Path),
    ) -> Self {
        sweep();
        let script = crate::root().join("scripts/test-server.sh");
        let found = Command::new(script).arg(kind).output().unwrap();
        let words = String::from_utf8_lossy(&found.stderr);
        assert!(
            found.status.success(),
            "scripts/test-server.sh {kind}: {words}"
        );
        let program = String::from_utf8(found.stdout).unwrap();
        let free = TcpListener::bind(address).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--data={MEMORY_BYTES}"))
            .arg(format!("--fsize={FILE_BYTES}"))
            .args(["setpriv", "--pdeathsig", "KILL", program.trim()])
            .env("GOMEMLIMIT", "1GiB");
        arguments(&mut command, address, folder.path());
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            process,
            address,
            kind,
            folder,
            versions: None,
        };
        while TcpStream::connect(address).is_err() {
            let ended = server.process.try_wait().unwrap();
            assert!(ended.is_none(), "the {kind} server ended: {ended:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Starts versitygw with a versioned bucket.
    pub fn s3_versioned() -> Self {
        let versions = tempfile::tempdir().unwrap();
        let mut server = Self::start("s3", LOOPBACK, |command, address, folder| {
            s3_arguments(command, address, folder);
            command.arg("posix").arg("--versioning-dir");
            command.arg(versions.path()).arg(folder);
        });
        server.versions = Some(versions);
        let wanted = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let answer = server.request("PUT", "?versioning=", wanted);
        assert!(answer.ends_with("200"), "{answer}");
        server
    }

    /// Sends a request that no library supports to the S3 server; returns the body and the status.
    pub fn request(&self, method: &str, path: &str, body: &str) -> String {
        let output = Command::new("curl")
            .args(["-s", "--noproxy", "*", "-w", "%{http_code}", "-X", method])
            .args(["--aws-sigv4", "aws:amz:us-east-1:s3"])
            .args(["--user", &format!("{KEY}:{SECRET}"), "--data", body])
            .args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .arg(format!("http://{}/builds{path}", self.address))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates the container in azurite; the program never sends such a request.
    pub fn create_container(&self) {
        let script = r"
            const [port, account, key] = process.argv.slice(1);
            const headers = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-08-06', 'content-length': 0 };
            const text = 'PUT' + '\n'.repeat(12) + 'x-ms-date:' + headers['x-ms-date'] + '\nx-ms-version:2021-08-06\n' +
                `/${account}/${account}/builds\nrestype:container`;
            const hmac = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8');
            headers.authorization = `SharedKey ${account}:${hmac.digest('base64')}`;
            const path = `/${account}/builds?restype=container`;
            const request = { method: 'PUT', host: '127.0.0.1', port, path, headers };
            require('http').request(request, answer => process.exit(answer.statusCode === 201 ? 0 : 1)).end();
        ";
        let port = self.address.port().to_string();
        let made = Command::new("node")
            .args(["-e", script, &port, AZURE_ACCOUNT, AZURE_KEY])
            .status()
            .unwrap();
        assert!(made.success(), "the container could not be created");
    }

    /// Returns the environment variables with which a program uses the server.
    pub fn variables(&self) -> Vec<(String, String)> {
        let url = format!("http://{}", self.address);
        let variables = match self.kind {
            "s3" => vec![
                ("AWS_ENDPOINT_URL", url),
                ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
                ("AWS_REGION", "us-east-1".to_owned()),
            ],
            _ => vec![
                ("AZURE_STORAGE_ENDPOINT", format!("{url}/{AZURE_ACCOUNT}")),
                ("AZURE_STORAGE_ACCOUNT_NAME", AZURE_ACCOUNT.to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY.to_owned()),
            ],
        };
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        variables.into_iter().map(owned).collect()
    }

    /// Returns the URL of the bucket with a prefix.
    pub fn url(&self, prefix: &str) -> String {
        let scheme = if self.kind == "s3" { "s3" } else { "az" };
        format!("{scheme}://builds/{prefix}")
    }

    /// Returns settings that open the bucket, with few retries.
    pub fn settings(&self, prefix: &str) -> BucketSettings {
        BucketSettings {
            variables: self.variables(),
            retries: 1,
            ..self.url(prefix).parse().unwrap()
        }
    }

    /// Returns the directory of the S3 server's bucket, in which each object is a file.
    pub fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("builds")
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
