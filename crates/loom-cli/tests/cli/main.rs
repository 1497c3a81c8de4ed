//! The real binary against servers of the testkit: what arrives there, what is printed, how it ends.
//!
//! `cfg(test)` tells clippy that helpers may fail as tests do.

#[cfg(test)]
mod chat;
#[cfg(test)]
mod demo;
#[cfg(test)]
#[cfg(unix)]
mod emulate;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod place;
#[cfg(test)]
mod run;
#[cfg(test)]
mod sandbox;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod tools;
