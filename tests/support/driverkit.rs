//! One kernel and one driver, configured as driverkit's users do it.

use driverkit_matrix::fs;

use crate::grid::Grid;

/// Returns the configuration of the grid's build as a driverkit file.
pub fn config(grid: &Grid) -> String {
    let urls: Vec<String> = grid
        .headers("1")
        .iter()
        .map(|path| format!("  - {}\n", path.display()))
        .collect();
    format!(
        "kernelversion: 1\nkernelrelease: 6.1.1-1-amd64\ntarget: debian\narchitecture: amd64\nmoduledrivername: scap\n\
         driverversion: one\nsrc-dir: driver\noutput:\n  module: here/scap.ko\nkernelurls:\n{}",
        urls.concat()
    )
}

pub fn grid() -> Grid {
    let grid = Grid::new();
    grid.write("config.yaml", config(&grid));
    grid
}

pub fn docker(grid: &Grid, words: &[&str]) -> assert_cmd::Command {
    let mut all = vec!["docker", "-c", "config.yaml"];
    all.extend(words);
    let mut command = grid.program(&all);
    command
        .env("DRIVERKIT_MATRIX_EXECUTOR", "fake")
        .env("HOME", grid.path("home"));
    command
}

/// Stores the grid's driver under the path that GitHub uses, and configures this version of it.
pub fn serve_driver(grid: &Grid, version: &str) {
    let sources = grid.path("sources/falcosecurity/libs/archive");
    fs::create_folder(&sources).unwrap();
    let tar = std::process::Command::new("tar")
        .arg("-C")
        .arg(grid.path("driver"))
        .arg("-czf")
        .arg(sources.join(format!("{version}.tar.gz")))
        .arg(".")
        .status()
        .unwrap();
    assert!(tar.success());
    let text = config(grid).replace(
        "driverversion: one\nsrc-dir: driver\n",
        &format!("driverversion: {version}\n"),
    );
    grid.write("config.yaml", text);
}
