//! A Prometheus of a test's own: the shipped configuration, rules and alerts, on a free port, in a temporary directory.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use super::files::repository;
use crate::support::{PATIENCE, Request, response_of, within};

/// The running process. Dropped, it is killed and its data are gone.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Prometheus {
    /// Scrapes `target` every second, with a bearer token.
    pub fn start(target: SocketAddr, token: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("larder-prometheus-")
            .tempdir()
            .unwrap();
        let home = directory.path();
        for name in ["rules.yml", "alerts.yml"] {
            fs::copy(repository("grafana").join(name), home.join(name)).unwrap();
        }
        fs::write(home.join("token"), token).unwrap();
        let shipped = fs::read_to_string(repository("grafana/prometheus.yml")).unwrap();
        let config = shipped
            .replace("interval: 15s", "interval: 1s")
            .replace("127.0.0.1:3000", &target.to_string())
            .replace("# authorization:", "authorization:")
            .replace(
                "#   credentials_file: /etc/prometheus/larder.token",
                "  credentials_file: token",
            );
        fs::write(home.join("prometheus.yml"), config).unwrap();
        // Another program could take the port in between; the test would say so.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", home.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", home.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(home.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let prometheus = Prometheus {
            child,
            address,
            directory,
        };
        let ready = Request::get("/-/ready");
        let up = within(PATIENCE, || {
            response_of(address, &ready).is_ok_and(|answer| answer.status == 200)
        });
        assert!(up, "Prometheus is not ready:\n{}", prometheus.stderr());
        prometheus
    }

    /// What it wrote about itself.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    /// The data of an answer of its API, or its error.
    pub fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = response_of(self.address, &Request::get(path)).map_err(|error| error.to_string())?;
        let mut json = answer.json();
        match json["status"] == "success" {
            true => Ok(json["data"].take()),
            false => Err(json["error"].to_string()),
        }
    }

    /// The result of a query now.
    pub fn now(&self, expr: &str) -> Result<Vec<Value>, String> {
        let data = self.ask(&format!("/api/v1/query?query={}", encoded(expr)))?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// Series of a query over the last `seconds`, one value every `step` seconds.
    pub fn range(&self, expr: &str, seconds: u64, step: u64) -> Result<Vec<Series>, String> {
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (start, expr) = (end - seconds, encoded(expr));
        let path = format!("/api/v1/query_range?query={expr}&start={start}&end={end}&step={step}");
        let data = self.ask(&path)?;
        let result = data["result"].as_array().cloned().unwrap_or_default();
        Ok(result.iter().map(Series::of).collect())
    }

    /// Waits until so many scrapes of the target have succeeded.
    pub fn scraped(&self, times: u64) {
        let enough = within(PATIENCE + Duration::from_secs(times), || {
            let counted = self
                .now("sum(sum_over_time(up{job=\"larder\"}[10m]))")
                .unwrap_or_default();
            let value = counted
                .first()
                .and_then(|sample| sample["value"][1].as_str()?.parse::<f64>().ok());
            value.is_some_and(|value| value >= times as f64)
        });
        assert!(
            enough,
            "Prometheus does not scrape: {:?}\n{}",
            self.ask("/api/v1/targets"),
            self.stderr()
        );
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// One series of an answer.
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: Vec<(String, String)>,
    /// Unix time and value; those that are no number left out.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    fn of(result: &Value) -> Self {
        let labels = result["metric"].as_object().into_iter().flatten();
        let points = result["values"].as_array().into_iter().flatten();
        Series {
            labels: labels
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            points: points
                .filter_map(|point| Some((point[0].as_f64()?, point[1].as_str()?.parse().ok()?)))
                .filter(|(_, value): &(f64, f64)| value.is_finite())
                .collect(),
        }
    }

    /// Its name in a legend like `{{op}} by the {{side}}`.
    pub fn name(&self, legend: &str) -> String {
        self.labels.iter().fold(legend.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{{{name}}}}}"), value)
        })
    }
}
