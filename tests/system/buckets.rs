//! Buckets at real servers.

use driverkit_matrix::bucket::{
    Attribute, Attributes, Bucket, BucketFault, Put, PutMode, PutOptions,
};
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
        panic!("it was there");
    };
    assert!(!bucket.create(name, "two").await.unwrap());
    let found = bucket.head(name).await.unwrap().unwrap();
    assert_eq!(found.size_bytes, 3);
    assert_eq!(found.attributes.get(&digest).unwrap().as_ref(), "abc");
    let update = |version| PutMode::Update(version).into();
    let Put::Done(second) = bucket.put(name, "2", update(first.clone())).await.unwrap() else {
        panic!("nobody changed it");
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
async fn s3_server_reads_writes_compares_and_lists() {
    works(&ObjectStore::s3()).await;
}

#[tokio::test]
#[ignore = "needs azurite, 360 MB of npm packages (make test-buckets)"]
async fn azure_server_reads_writes_compares_and_lists() {
    let server = ObjectStore::azure();
    let missing = Bucket::open(&server.settings("")).unwrap();
    let error = missing.list("").await.unwrap_err();
    assert_eq!(error.fault, BucketFault::NoBucket, "{error}");
    server.create_container();
    works(&server).await;
}

#[tokio::test]
async fn s3_server_refuses_with_classes_and_without_credentials() {
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
    fn start(&self, words: &[&str]) -> std::process::Child {
        let mut command = std::process::Command::new(support::program());
        command
            .current_dir(self.grid.path(""))
            .args(["run", "matrix.toml", "--executor", "fake", "--jobs", "2"])
            .args(["--cache", &format!("cache-{}", self.name)])
            .args(["--out", &format!("out-{}", self.name)])
            .args(["--store", &self.server.url("night")])
            .args(words)
            .envs(self.server.variables())
            .env("DRIVERKIT_MATRIX_STORE_KEY", "planted-store-key-of-length")
            .env("DRIVERKIT_MATRIX_FAKE", self.grid.path("fake.json"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    }

    fn run(&self, words: &[&str]) -> (i32, String) {
        let output = self.start(words).wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    }
}

#[test]
fn shards_on_machines_with_empty_disks_share_one_store() {
    let server = ObjectStore::s3();
    let grid = Grid::of_four();
    let folder = grid.path("").display().to_string();
    let mirror = Server::of(&grid.path(""));
    grid.edit_matrix(folder.trim_end_matches('/'), &mirror.address);
    let machine = |name| Machine {
        grid: &grid,
        server: &server,
        name,
    };
    let shards = ["1/3", "2/3", "3/3"];
    let names = ["a", "b", "c"];
    let running = names.map(|name| {
        let at = names.iter().position(|one| *one == name).unwrap();
        machine(name).start(&["--shard", shards[at]])
    });
    for shard in running {
        let output = shard.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
    }
    let modules = |jobs: &[String]| jobs.iter().filter(|job| *job == "module").count();
    assert_eq!(modules(&grid.jobs()), 4);

    // A fourth has nothing to do, and asks no mirror.
    let asked = mirror.requests();
    let (code, text) = machine("d").run(&["--place", "new"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("all of it is known already"), "{text}");
    assert_eq!(grid.jobs(), [""; 0]);
    assert_eq!(mirror.requests(), asked);

    // A new kernel: exactly its build is done.
    grid.write_headers("5", RELEASE);
    let matrix = grid.matrix(&["1", "2", "3", "4", "5"]);
    grid.write_matrix(&matrix.replace(folder.trim_end_matches('/'), &mirror.address));
    let (code, text) = machine("e").run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(modules(&grid.jobs()), 1);

    // Another version of the driver, when all mirrors have deleted the headers.
    for number in ["1", "2", "3", "4", "5"] {
        for path in grid.headers(number) {
            driverkit_matrix::fs::remove_file(&path).unwrap();
        }
    }
    grid.write_driver("driver", "the next version");
    let (code, text) = machine("f").run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(modules(&grid.jobs()), 5);

    // No credential is anywhere.
    for entry in walkdir::WalkDir::new(grid.path("")).into_iter().flatten() {
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let has = bytes.windows(8).any(|part| part == b"planted-");
            assert!(!has, "{}", entry.path().display());
        }
    }
    for entry in walkdir::WalkDir::new(server.folder()).into_iter().flatten() {
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let has = bytes.windows(8).any(|part| part == b"planted-");
            assert!(!has, "{}", entry.path().display());
        }
    }
}

#[test]
fn store_at_a_server_that_refuses_is_told_before_anything_is_built() {
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
