//! Tests of buckets on real servers.

use driverkit_matrix::bucket::{
    Attribute, Attributes, Bucket, BucketFault, Put, PutMode, PutOptions,
};
use driverkit_matrix::publish::Index;
use support::grid::{Grid, RELEASE};
use support::object_store::ObjectStore;
use support::server::Server;

async fn works(server: &ObjectStore) {
    let bucket = Bucket::open(&server.settings("a/b")).unwrap();
    let digest = Attribute::Metadata("sha256".into());
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "application/octet-stream"),
        (Attribute::CacheControl, "max-age=60"),
        (digest.clone(), "abc"),
    ]);
    let options = PutOptions {
        mode: PutMode::Create,
        attributes,
        ..PutOptions::default()
    };
    let name = "x/6.1.0+deb~1_x.ko";
    let Put::Done(first) = bucket.put(name, "one", options).await.unwrap() else {
        panic!("the object already exists");
    };
    assert!(!bucket.create(name, "two").await.unwrap());
    let found = bucket.head(name).await.unwrap().unwrap();
    assert_eq!(found.size_bytes, 3);
    assert_eq!(found.attributes.get(&digest).unwrap().as_ref(), "abc");
    let update = |version| PutMode::Update(version).into();
    let Put::Done(second) = bucket.put(name, "2", update(first.clone())).await.unwrap() else {
        panic!("the object has changed");
    };
    let stale = bucket.put(name, "three", update(first)).await.unwrap();
    assert_eq!(stale, Put::Conflict);
    assert_ne!(second.e_tag, None);
    assert_eq!(bucket.get(name, 9).await.unwrap().unwrap(), b"2");

    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..40_u32 << 20)
        .map(|at| (at / 7).to_le_bytes()[0])
        .collect();
    driverkit_matrix::fs::write(file.path(), &content).unwrap();
    let put = bucket.put_file("x/large", file.path(), PutOptions::default());
    put.await.unwrap();
    let found = bucket.get("x/large", 1 << 30).await.unwrap().unwrap();
    assert!(found == content);

    let mut names: Vec<String> = Vec::new();
    for object in bucket.list("x").await.unwrap() {
        names.push(object.name);
    }
    names.sort();
    assert_eq!(names, [name, "x/large"]);
    bucket.delete([name, "x/large", "x/none"]).await.unwrap();
    assert_eq!(bucket.list("x").await.unwrap(), []);
    assert_eq!(bucket.head(name).await.unwrap(), None);
}

#[tokio::test]
async fn an_s3_bucket_can_be_read_written_and_listed() {
    works(&ObjectStore::s3()).await;
}

#[tokio::test]
#[ignore = "needs azurite, 360 MB of npm packages (make test-buckets)"]
async fn an_azure_bucket_can_be_read_written_and_listed() {
    let server = ObjectStore::azure();
    let missing = Bucket::open(&server.settings("")).unwrap();
    let error = missing.list("").await.unwrap_err();
    assert_eq!(error.fault, BucketFault::NoBucket, "{error}");
    server.create_container();
    works(&server).await;
}

#[tokio::test]
async fn refusals_of_an_s3_server_are_classified_without_credentials() {
    let server = ObjectStore::s3();
    let mut settings = server.settings("a");
    settings.url = "s3://nowhere".parse().unwrap();
    let error = Bucket::open(&settings).unwrap().list("").await.unwrap_err();
    assert_eq!(error.fault, BucketFault::NoBucket, "{error}");
    for (name, value, fault) in [
        (
            "AWS_SECRET_ACCESS_KEY",
            "planted-wrong-secret",
            BucketFault::Credentials,
        ),
        (
            "AWS_ACCESS_KEY_ID",
            "planted-wrong-key",
            BucketFault::Credentials,
        ),
        ("AWS_REGION", "eu-west-9", BucketFault::Region),
    ] {
        let mut settings = server.settings("a");
        for variable in &mut settings.variables {
            if variable.0 == name {
                value.clone_into(&mut variable.1);
            }
        }
        let bucket = Bucket::open(&settings).unwrap();
        let refused = [
            bucket.list("").await.unwrap_err(),
            bucket.get("a", 1).await.unwrap_err(),
            bucket
                .put("a", "x", PutOptions::default())
                .await
                .unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.fault, fault, "{name}: {error}");
            assert!(error.help.is_some());
            assert!(!format!("{error:?}").contains("planted"), "{error}");
        }
    }
}

/// A machine with an empty disk.
struct Machine<'a> {
    grid: &'a Grid,
    server: &'a ObjectStore,
    name: &'a str,
}

impl Machine<'_> {
    /// Runs the missing builds, with the store and the destination that all machines share.
    fn start(&self, words: &[&str]) -> std::process::Child {
        let mut command = std::process::Command::new(support::program());
        command
            .current_dir(self.grid.path(""))
            .args(["run", "matrix.toml", "--executor", "fake", "--jobs", "2"])
            .args(["--cache", &format!("cache-{}", self.name)])
            .args(["--out", &format!("out-{}", self.name)])
            .args(["--store", &self.server.url("night")])
            .args(["--publish", &self.server.url("driver")])
            .args(words)
            .envs(self.server.variables())
            .env("DRIVERKIT_MATRIX_STORE_KEY", "planted-store-key-of-length")
            .env("DRIVERKIT_MATRIX_FAKE", self.grid.path("fake.json"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    }

    fn run(&self, words: &[&str]) -> String {
        text_of(self.start(words))
    }
}

/// Returns the output of a machine whose run must succeed.
fn text_of(running: std::process::Child) -> String {
    let output = running.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains("planted-"), "{text}");
    text
}

fn has_credential(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    let entries = walkdir::WalkDir::new(folder).into_iter().flatten();
    let mut files = entries.filter(|entry| entry.file_type().is_file());
    files.find_map(|entry| {
        let bytes = std::fs::read(entry.path()).unwrap();
        let has = bytes.windows(8).any(|part| part == b"planted-");
        has.then(|| entry.into_path())
    })
}

#[test]
fn shards_on_empty_machines_share_one_store_and_one_destination() {
    let server = ObjectStore::s3();
    let grid = Grid::of_four();
    grid.write_driver("other", "the next version");
    grid.fake(&[]);
    let folder = grid.path("").display().to_string();
    let mirror = Server::of(&grid.path(""));
    let write = |numbers: &[&str], drivers: &str| {
        let matrix = grid.matrix(numbers).replace("[\"one\"]", drivers);
        let two = "[driver.\"two\"]\nsource = { path = \"other\" }\nmodule_name = \"scap\"\n";
        let two = if drivers.contains("two") { two } else { "" };
        let matrix = matrix.replace(folder.trim_end_matches('/'), &mirror.address);
        grid.write_matrix(&format!("{matrix}\n{two}"));
    };
    write(&["1", "2", "3", "4"], "[\"one\"]");
    let machine = |name| Machine {
        grid: &grid,
        server: &server,
        name,
    };
    let shards = [("a", "1/3"), ("b", "2/3"), ("c", "3/3")];
    let running = shards.map(|(name, shard)| machine(name).start(&["--shard", shard]));
    for shard in running {
        text_of(shard);
    }
    let modules = || grid.jobs().iter().filter(|job| *job == "module").count();
    assert_eq!(modules(), 4);
    let index = || {
        let bytes = std::fs::read(server.folder().join("driver/index.json")).unwrap();
        Index::parse(&bytes).unwrap()
    };
    assert_eq!(index().artifacts.len(), 4);

    // A fourth machine has nothing to build, sends no request to the mirror, and changes nothing.
    let (asked, before) = (mirror.requests(), index());
    let text = machine("d").run(&["--place", "new"]);
    assert!(text.contains("no job is started"), "{text}");
    assert!(text.contains("0 published"), "{text}");
    assert_eq!(grid.jobs(), [""; 0]);
    assert_eq!(mirror.requests(), asked);
    assert_eq!(index(), before);

    // A new kernel: exactly its build is done and published.
    grid.write_headers("5", RELEASE);
    write(&["1", "2", "3", "4", "5"], "[\"one\"]");
    let text = machine("e").run(&[]);
    assert_eq!(modules(), 1);
    assert!(text.contains("1 published, 4 unchanged"), "{text}");

    // Another driver version, when all mirrors have deleted the headers.
    for number in ["1", "2", "3", "4", "5"] {
        for path in grid.headers(number) {
            driverkit_matrix::fs::remove_file(&path).unwrap();
        }
    }
    write(&["1", "2", "3", "4", "5"], "[\"one\", \"two\"]");
    let text = machine("f").run(&[]);
    assert_eq!(modules(), 5);
    assert!(text.contains("5 published, 5 unchanged"), "{text}");

    // The published files match the index, and readers of the destination see them.
    for (key, entry) in &index().artifacts {
        let file = std::fs::read(server.folder().join("driver").join(key)).unwrap();
        assert_eq!(driverkit_matrix::digest::Sha256::of(&file), entry.sha256);
    }
    let mut stats = grid.program(&["stats", &server.url("driver"), "--format", "json"]);
    let stats = stats.envs(server.variables()).output().unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).unwrap();
    let built = |row: usize| stats["rows"][row]["built"].as_u64();
    assert_eq!((built(0), built(1)), (Some(5), Some(5)), "{stats}");

    assert_eq!(has_credential(&grid.path("")), None);
    assert_eq!(has_credential(&server.folder()), None);
}

#[test]
fn a_refusing_store_is_reported_before_anything_is_built() {
    let server = ObjectStore::s3();
    let grid = Grid::new();
    for (variable, value, said) in [
        (
            "AWS_SECRET_ACCESS_KEY",
            "planted-wrong-secret",
            "SignatureDoesNotMatch",
        ),
        ("AWS_REGION", "eu-west-9", "AWS_REGION"),
        (
            "AWS_ENDPOINT_URL",
            "http://127.0.0.1:1",
            "check the network",
        ),
    ] {
        let mut command = grid.program(&["run", "matrix.toml", "--executor", "fake"]);
        command
            .args(["--store", &server.url("x"), "--store-trusted"])
            .envs(server.variables())
            .env(variable, value)
            .env("AWS_STORE_RETRIES", "0");
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let code = if variable == "AWS_ENDPOINT_URL" { 3 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(said) && !text.contains("planted"), "{text}");
        assert!(text.contains("help: "), "{text}");
    }
    assert_eq!(grid.jobs(), [""; 0]);
}
