//! Behind a reverse proxy: Debian's nginx with the configuration that the package ships (issue 6).
#![cfg(feature = "tls")]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Authority, Conn, Daemon, MIB, PATIENCE, Request, Setup, found, path, response_of, seeded_bytes, within,
};

const SHIPPED: &str = include_str!("../../config/packaging/nginx.conf");

/// nginx in the daemon's home. Dropping it ends it.
struct Nginx {
    child: Child,
    plain: SocketAddr,
    tls: SocketAddr,
}

impl Nginx {
    /// Starts it in front of the daemon, below `location`. It connects from 127.0.0.2, so that it and the tests differ.
    fn start(daemon: &Daemon, authority: &Authority, location: &str) -> Self {
        let home = daemon.home();
        authority.issue(home, 2033);
        let (plain, tls) = (free_address(), free_address());
        let pem = |name: &str| home.join(name).display().to_string();
        let site = [
            ("listen 443 ssl;", format!("listen {tls} ssl; listen {plain};")),
            (
                "    server 127.0.0.1:3000;",
                format!("    server {};", daemon.address()),
            ),
            ("/etc/ssl/larder.pem", pem("cert.pem")),
            ("/etc/ssl/larder.key", pem("key.pem")),
            (
                "location / {",
                format!("proxy_bind 127.0.0.2;\n    location {location} {{"),
            ),
        ]
        .into_iter()
        .fold(SHIPPED.to_owned(), |site, (shipped, here)| {
            assert_eq!(site.matches(shipped).count(), 1, "{shipped} in the shipped file");
            site.replace(shipped, &here)
        });
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let config = format!(
            "{user}\nworker_processes 1;\npid nginx.pid;\nerror_log nginx.log;\nevents {{}}\nhttp {{\naccess_log off;\n\
             client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path f;\nuwsgi_temp_path u;\n\
             scgi_temp_path s;\n{site}\n}}\n"
        );
        fs::write(home.join("nginx.conf"), config).unwrap();
        let child = Command::new("nginx")
            .args(["-e", "nginx.log", "-g", "daemon off;", "-c"])
            .arg(home.join("nginx.conf"))
            .arg("-p")
            .arg(home)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut nginx = Nginx { child, plain, tls };
        let up = within(PATIENCE, || {
            assert!(
                nginx.child.try_wait().unwrap().is_none(),
                "nginx ended: {}",
                log_of(home)
            );
            Conn::open(plain).is_ok()
        });
        assert!(up, "{}", log_of(home));
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it when it is asked; when it is killed they stay.
        if let Ok(pid) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: kill(2) takes two integers; the process is our own child and has not been waited for.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let _ = self.child.wait();
    }
}

fn log_of(home: &Path) -> String {
    fs::read_to_string(home.join("nginx.log")).unwrap_or_default()
}

/// An address that was free a moment ago: nginx cannot be asked which port it took.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn daemon(more: &str) -> Daemon {
    Setup::default()
        .config(&format!(
            "[log]\naccess = \"json\"\naccess_to = \"access.log\"\n[server]\ntrusted_proxies = [\"127.0.0.2\"]\n{more}"
        ))
        .start()
}

/// Sends the head and the first bytes of an upload of `length` bytes.
fn begin_upload(address: SocketAddr, daemon: &Daemon, target: &str, length: usize, first: &[u8]) -> Conn {
    let request = daemon.authorized(Request::new("PUT", target));
    let mut connection = Conn::open(address).unwrap();
    let request = request.header("Content-Length", length.to_string());
    connection.write(&request.head_bytes()).unwrap();
    connection.write(first).unwrap();
    connection
}

#[test]
fn nginx_hands_large_files_through_without_keeping_them() {
    if !found("nginx hands large files through", &["nginx"]) {
        return;
    }
    let daemon = daemon("");
    let nginx = Nginx::start(&daemon, &Authority::new(), "/");
    let (target, body) = (path("large", "1", "f"), seeded_bytes(601, 48 * MIB));
    let half = body.len() / 2;
    let mut upload = begin_upload(nginx.plain, &daemon, &target, body.len(), &body[..half]);
    // What has been sent arrives while the rest has not: nothing waits for the whole on nginx's disk.
    let arrived = || daemon.metric("larder_http_request_body_bytes_total", "op=\"put_file\"");
    assert!(
        within(PATIENCE, || arrived() > half as u64 - MIB as u64),
        "{} of {half}",
        arrived()
    );
    upload.write(&body[half..]).unwrap();
    assert_eq!(upload.read_response("PUT").unwrap().status, 201);
    let kept = fs::read_dir(daemon.home().join("body")).unwrap().count();
    assert_eq!(kept, 0, "files in nginx's directory for bodies");

    let answer = response_of(nginx.plain, &Request::get(&target)).unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "{} bytes", answer.body.len());
    let part = Request::get(&target).header("Range", "bytes=5-9");
    let part = response_of(nginx.plain, &part).unwrap();
    assert_eq!((part.status, part.body.as_slice()), (206, &body[5..10]));
    assert_eq!(
        response_of(nginx.plain, &Request::get("/metrics"))
            .unwrap()
            .status,
        404
    );
}

#[test]
fn early_refusals_come_through_nginx_before_the_body_is_sent() {
    if !found("early refusals through nginx", &["nginx"]) {
        return;
    }
    let daemon = daemon("[limits]\nmax_file_size = \"8MiB\"\n[store]\nmax_size = \"16MiB\"\n");
    let nginx = Nginx::start(&daemon, &Authority::new(), "/");
    let refused = |target: &str, length: usize| {
        let mut upload = begin_upload(nginx.plain, &daemon, target, length, &[b'x'; 1000]);
        upload.read_limit(Duration::from_secs(20));
        let answer = upload.read_response("PUT").unwrap();
        (answer.status, answer.text())
    };
    let (status, text) = refused(&path("large", "1", "f"), 100 * MIB);
    assert_eq!(status, 413, "{text}");
    assert!(text.contains("8388608"), "Larder's own words: {text}");
    // Until the store is full.
    for version in 0..8 {
        daemon.put(
            &path("fill", &version.to_string(), "f"),
            seeded_bytes(602 + version, 4 * MIB),
        );
    }
    let (status, text) = refused(&path("more", "1", "f"), 7 * MIB);
    assert_eq!(status, 507, "{text}");
    let read = response_of(nginx.plain, &Request::get(&path("fill", "0", "f"))).unwrap();
    assert_eq!(read.status, 200, "reads go on");
}

#[test]
fn the_client_behind_nginx_is_known_and_cannot_pretend() {
    if !found("the client behind nginx", &["nginx"]) {
        return;
    }
    let daemon = daemon("");
    let authority = Authority::new();
    let nginx = Nginx::start(&daemon, &authority, "/");
    let spoofed = Request::get("/livez")
        .header("X-Forwarded-For", "192.0.2.66")
        .header("User-Agent", "spoof-1");
    assert_eq!(response_of(nginx.plain, &spoofed).unwrap().status, 200);
    // Without the proxy nobody is believed.
    let direct = Request::get("/livez")
        .header("X-Forwarded-For", "192.0.2.66")
        .header("User-Agent", "direct-1");
    daemon.send(&direct);
    for agent in ["spoof-1", "direct-1"] {
        let entry = entry(&daemon, agent);
        assert_eq!(entry["client"], "127.0.0.1", "{entry}");
    }
    let id = entry(&daemon, "spoof-1")["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(id.len(), 32, "nginx's own id: {id}");

    let front = |address, head: &str| authority.talk(address, head.as_bytes()).unwrap().0;
    let over_tls = front(
        nginx.tls,
        "GET / HTTP/1.1\r\nHost: larder.example.org\r\nConnection: close\r\n\r\n",
    );
    assert!(
        over_tls.contains("https://larder.example.org/api/packages/"),
        "{over_tls}"
    );
    let over_http = response_of(nginx.plain, &Request::get("/")).unwrap().text();
    assert!(
        over_http.contains("http://larder.test/api/packages/"),
        "{over_http}"
    );
}

#[test]
fn larder_can_live_below_a_path() {
    if !found("a base path behind nginx", &["nginx"]) {
        return;
    }
    let daemon = daemon("base_path = \"/larder\"\n");
    let nginx = Nginx::start(&daemon, &Authority::new(), "/larder/");
    let target = path("tool", "1", "f");
    let put = daemon.authorized(Request::put(&format!("/larder{target}"), "below"));
    assert_eq!(response_of(nginx.plain, &put).unwrap().status, 201);
    let answer = response_of(nginx.plain, &Request::get(&format!("/larder{target}"))).unwrap();
    assert_eq!((answer.status, answer.text()), (200, "below".to_owned()));
    // Who comes directly, or through a proxy that takes the path away, needs none.
    daemon.assert_serves(&target, b"below");
    let front = response_of(nginx.plain, &Request::get("/larder/")).unwrap();
    assert!(
        front.text().contains("http://larder.test/larder/api/packages/"),
        "{}",
        front.text()
    );
    assert_eq!(daemon.put(&path("tool", "2", "f"), "another"), 201);
    let listed = daemon.authorized(Request::get("/larder/api/v1/packages/admin?limit=1"));
    let listed = response_of(nginx.plain, &listed).unwrap();
    let link = listed.header("link").unwrap();
    assert!(
        link.contains("<http://larder.test/larder/api/v1/packages/admin?"),
        "{link}"
    );
    assert_eq!(daemon.send(&Request::get("/elsewhere/livez")).status, 404);
}

/// The line of the access log about the request of this agent.
fn entry(daemon: &Daemon, agent: &str) -> Value {
    let log = || fs::read_to_string(daemon.home().join("access.log")).unwrap_or_default();
    assert!(within(PATIENCE, || log().contains(agent)), "{}", log());
    let log = log();
    let line = log.lines().find(|line| line.contains(agent)).unwrap();
    serde_json::from_str(line).unwrap()
}
