//! Names to addresses: the system's resolver, asked once for all who want the same name at the same time.
//!
//! The system's resolver blocks a thread for as long as it takes. Were each of a thousand calls to ask by itself, a name
//! server that does not answer would leave a thousand threads behind, and key functions and other names without any.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture, Shared};
use hyper_util::client::legacy::connect::dns;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use super::transport::Way;

type Addresses = Result<Arc<[SocketAddr]>, Arc<io::Error>>;
type Found = std::vec::IntoIter<SocketAddr>;
type Lookup = Shared<BoxFuture<'static, Addresses>>;

/// The lookups under way, each on its runtime. What was found is not kept: names move.
static UNDER_WAY: LazyLock<Mutex<HashMap<(tokio::runtime::Id, String), Lookup>>> =
    LazyLock::new(Mutex::default);

fn under_way() -> MutexGuard<'static, HashMap<(tokio::runtime::Id, String), Lookup>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a name's address is being waited for.
pub(super) fn is_looking_up(name: &str) -> bool {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
    under_way().contains_key(&(runtime.id(), name.to_owned()))
}

/// Knows the addresses that the way gives to names, and looks the others up.
#[derive(Clone)]
pub(super) struct Resolver(pub(super) Arc<Way>);

impl Resolver {
    fn find(&self, name: &str) -> BoxFuture<'static, Result<Found, Unknown>> {
        let given: Vec<_> = (self.0.resolve.iter())
            .filter(|(known, _)| known == name)
            // The port is the URL's.
            .map(|(_, address)| SocketAddr::new(*address, 0))
            .collect();
        if !given.is_empty() {
            return future::ready(Ok(given.into_iter())).boxed();
        }
        lookup(name).map(|found| Ok(found.map_err(Unknown)?.to_vec().into_iter())).boxed()
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.find(name.as_str());
        Box::pin(async move { Ok(Box::new(found.await?) as Addrs) })
    }
}

impl tower_service::Service<dns::Name> for Resolver {
    type Response = Found;
    type Error = Unknown;
    type Future = BoxFuture<'static, Result<Found, Unknown>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unknown>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: dns::Name) -> Self::Future {
        self.find(name.as_str())
    }
}

/// A name has no address that could be found.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Unknown(Arc<io::Error>);

/// The lookup of a name; that of another call if there is one. It goes on when nobody waits for it any more, since its
/// thread does.
fn lookup(name: &str) -> Lookup {
    let key = (tokio::runtime::Handle::current().id(), name.to_owned());
    let mut lookups = under_way();
    if let Some(lookup) = lookups.get(&key) {
        return lookup.clone();
    }
    let (found, waiting) = oneshot::channel();
    let waiting =
        waiting.map(|found| found.unwrap_or_else(|_| Err(Arc::new(io::Error::other("it was given up")))));
    let lookup = waiting.boxed().shared();
    lookups.insert(key.clone(), lookup.clone());
    drop(lookups);
    let (host, ended) = (name.to_owned(), Ended(key));
    tokio::task::spawn_blocking(move || {
        // The port is the URL's.
        let addresses = (host.as_str(), 0).to_socket_addrs().map(Iterator::collect).map_err(Arc::new);
        drop(ended);
        // Nobody may wait any more.
        let _ = found.send(addresses);
    });
    lookup
}

/// Takes a lookup from those under way, also if it panics or its runtime ends before it began.
struct Ended((tokio::runtime::Id, String));

impl Drop for Ended {
    fn drop(&mut self) {
        under_way().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_once_for_all_and_anew_later() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.max_blocking_threads(1).build().unwrap().block_on(async {
            // The one thread for lookups is busy, so that none ends too soon.
            let (free, busy) = std::sync::mpsc::channel::<()>();
            tokio::task::spawn_blocking(move || busy.recv());
            let lookups: Vec<Lookup> = (0..100).map(|_| lookup("localhost")).collect();
            assert!(lookups.iter().all(|lookup| lookup.ptr_eq(&lookups[0])));
            assert!(is_looking_up("localhost") && !is_looking_up("other"));
            free.send(()).unwrap();
            for lookup in &lookups {
                let addresses = lookup.clone().await.unwrap();
                assert!(addresses.iter().all(|address| address.ip().is_loopback()) && !addresses.is_empty());
            }
            assert!(!is_looking_up("localhost"));
            assert!(!lookup("localhost").ptr_eq(&lookups[0]));
        });
    }

    #[tokio::test]
    async fn a_failure_is_everybodys() {
        // A label of more than 63 letters is no name, so that no resolver is asked.
        let name = format!("{}.test", "a".repeat(64));
        let (one, two) = (lookup(&name), lookup(&name));
        assert!(one.await.is_err() && two.await.is_err());
    }
}
