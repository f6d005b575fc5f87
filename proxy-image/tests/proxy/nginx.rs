//! nginx as the external system: it demands a client certificate and says what it saw.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::harness::{eventually, local};
use crate::ports::free_port;

/// A running nginx. Dropped, it is killed.
pub(crate) struct Nginx {
    pub(crate) port: u16,
    _child: Child,
    _folder: TempDir,
}

impl Nginx {
    /// Starts nginx with the credentials `cert`, `key` and `cacert` of a directory. What it answers
    /// names the client, the host, the path and the number of its connection.
    pub(crate) async fn start(credentials: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config(port, credentials, folder.path())).unwrap();
        let child = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .args(["-e", "error.log"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed");
        eventually("nginx listens", async || {
            TcpStream::connect(local(port)).await.is_ok()
        })
        .await;
        Self {
            port,
            _child: child,
            _folder: folder,
        }
    }
}

fn config(port: u16, credentials: &Path, folder: &Path) -> String {
    let (credentials, folder) = (credentials.display(), folder.display());
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; client_max_body_size 0;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {credentials}/cert; ssl_certificate_key {credentials}/key;
    ssl_client_certificate {credentials}/cacert; ssl_verify_client on;
    location /closes {{ keepalive_timeout 0; return 200 \"connection=$connection\\n\"; }}
    location / {{ return 200 \"client=$ssl_client_s_dn host=$http_host uri=$request_uri protocol=$server_protocol connection=$connection\\n\"; }}
  }}
}}
"
    )
}
