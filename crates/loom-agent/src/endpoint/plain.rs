//! The warning that a key goes over the open network unencrypted.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::base_url::BaseUrl;

/// Ends of names that are not resolved on the public network.
const PRIVATE_NAMES: [&str; 12] = [
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "arpa",
    "localdomain",
    "svc",
    "test",
];

/// Warns, once per origin, when a key is to go to a public host by plain HTTP.
pub(super) fn warn(base: &BaseUrl, has_key: bool) {
    static WARNED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    let origin = base.origin();
    if has_key && origin.starts_with("http://") && is_public(base.host()) {
        let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < 1024 && warned.insert(origin.clone()) {
            tracing::warn!(
                target: "loom",
                "the key goes to {origin} unencrypted: anyone on the way can read it. Use https:// if the server has it"
            );
        }
    }
}

fn is_public(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(ip)) => {
            // 100.64.0.0/10 is what VPNs and carriers use within.
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || shared)
        }
        Ok(IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified())
        }
        Err(_) => {
            let host = host.trim_end_matches('.').to_lowercase();
            let last = host.rsplit('.').next().unwrap_or_default();
            host.contains('.') && !PRIVATE_NAMES.contains(&last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_hosts_are_told_from_public_ones() {
        for host in [
            "api.example.com",
            "8.8.8.8",
            "100.128.0.1",
            "2001:4860::8888",
            "[2001:4860::8888]",
            "internal.com",
        ] {
            assert!(is_public(host), "{host}");
        }
        for host in [
            "localhost",
            "gpu-box",
            "llm.corp",
            "llm.office.internal",
            "10.1.2.3",
            "192.168.1.9",
            "172.20.0.1",
            "100.100.1.1",
            "127.0.0.1",
            "::1",
            "[fd00::1]",
            "fe80::1",
            "vllm.default.svc",
            "nas.local.",
        ] {
            assert!(!is_public(host), "{host}");
        }
    }
}
