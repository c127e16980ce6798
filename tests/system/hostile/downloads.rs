//! Hostile downloads and archives: broken once, broken until later, with endless names, or not regular files.

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::fs;

use super::sandboxed::{EXECUTORS, HONEST, Sandboxed};
use support::grid::{Grid, deb_of};
use support::server::Server;

const PACKAGE: &str = "linux-headers-6.1.0-1-amd64";

/// Lets the grid download its packages from `server`.
fn from_server(grid: &Grid, server: &Server) {
    let folder = grid.path("").display().to_string();
    grid.edit_matrix(folder.trim_end_matches('/'), &server.address);
}

#[test]
fn broken_downloads_are_retried_and_never_cached() {
    for executor in EXECUTORS {
        // A single broken download is repaired in the same run; two are a download error, which is not cached.
        for count in [1, 2] {
            let sandboxed = Sandboxed::new(executor, HONEST, "");
            let grid = &sandboxed.grid;
            let server = Server::of_halves(&grid.path(""), PACKAGE, count);
            from_server(grid, &server);
            if count == 2 {
                sandboxed.expect("error", "download");
            }
            sandboxed.expect("built", "");
            let bytes = fs::read(&grid.headers("1")[0]).unwrap();
            let whole = Sha256::of(&bytes).to_string();
            let manifest = fs::read_to_string(&grid.path("out/manifest.json")).unwrap();
            assert!(manifest.contains(&whole), "{manifest}");
        }
    }
}

#[test]
fn an_archive_with_many_names_costs_little_time_and_disk() {
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..100_000 {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        let name = format!("usr/{number}");
        builder.append_data(&mut header, name, &[][..]).unwrap();
    }
    let package = deb_of(&builder.into_inner().unwrap());
    for executor in EXECUTORS {
        let sandboxed = Sandboxed::new(executor, HONEST, "");
        let grid = &sandboxed.grid;
        fs::write(&grid.headers("1")[0], &package).unwrap();
        let (code, text) = sandboxed.run_bounded();
        assert_eq!(code, 1, "{text}");
        let (_, class, message) = grid.outcome();
        assert_eq!(class, "unpack", "{message}");
        assert!(message.contains("more than 50000 entries"), "{message}");
    }
}

#[test]
fn a_pipe_in_place_of_a_package_is_refused() {
    for executor in EXECUTORS {
        let sandboxed = Sandboxed::new(executor, HONEST, "");
        let [package, ..] = sandboxed.grid.headers("1");
        fs::remove_file(&package).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&package).status();
        assert!(made.unwrap().success());
        sandboxed.expect("error", "download");
    }
}
