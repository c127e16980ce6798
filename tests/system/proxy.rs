//! Downloads through a real proxy, Debian's microsocks.

use driverkit_matrix::fs;
use support::driverkit::{docker, grid, serve_driver};
use support::grid::Grid;
use support::server::Server;

/// Debian's microsocks, a SOCKS5 proxy, which is stopped on drop.
struct Proxy {
    process: std::process::Child,
    address: std::net::SocketAddr,
    log: std::path::PathBuf,
}

impl Proxy {
    fn start(grid: &Grid) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let log = grid.path("proxy.log");
        let process = std::process::Command::new("microsocks")
            .args(["-i", "127.0.0.1", "-p", &address.port().to_string()])
            .stderr(std::fs::File::create_new(&log).unwrap())
            .spawn()
            .expect("package microsocks is needed: run scripts/setup.sh --tests");
        support::grid::wait_until("the proxy listens", || {
            std::net::TcpStream::connect(address).is_ok()
        });
        Self {
            process,
            address,
            log,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn downloads_go_through_a_socks5_proxy() {
    let grid = grid();
    serve_driver(&grid, "1.0.0+driver");
    let server = Server::of(&grid.path("sources"));
    let proxy = Proxy::start(&grid);
    let address = format!("socks5://{}", proxy.address);
    docker(&grid, &["--proxy", &address])
        .env("DRIVERKIT_MATRIX_MIRROR_GITHUB", &server.address)
        .assert()
        .success();
    assert_eq!(server.requests(), 1);
    let log = fs::read_to_string(&proxy.log).unwrap();
    let (_, port) = server.address.rsplit_once(':').unwrap();
    assert!(
        log.contains(&format!("connected to 127.0.0.1:{port}")),
        "{log}"
    );
}
