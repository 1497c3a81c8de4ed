//! The circuit breaker of a pool's member: after some failures in a row it is left alone for a while, then tried once.
//!
//! No IO and no clock of its own: the caller says what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// No member is left alone for longer.
const LONGEST: Duration = Duration::from_secs(300);

/// When a member is left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// So many failures in a row open the circuit.
    pub(crate) failures: u32,
    /// The first time for so long; each failed trial doubles it.
    pub(crate) cooldown: Duration,
}

/// Whether a member may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Circuit {
    /// It may.
    Closed,
    /// It may from then on.
    Open(Instant),
    /// Its time is over: one call may try it.
    HalfOpen,
    /// That call is under way.
    Trying,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    rule: Rule,
    /// Failures since the last success.
    failures: u32,
    open_until: Option<Instant>,
    cooldown: Duration,
    trying: bool,
    /// The server asked to be left alone until then; that is no failure.
    blocked_until: Option<Instant>,
}

impl Breaker {
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            rule,
            failures: 0,
            open_until: None,
            cooldown: rule.cooldown,
            trying: false,
            blocked_until: None,
        }
    }

    pub(crate) fn state(&self, now: Instant) -> Circuit {
        let until = self.open_until.max(self.blocked_until);
        match until {
            Some(until) if until > now => Circuit::Open(until),
            _ if self.open_until.is_none() => Circuit::Closed,
            _ if self.trying => Circuit::Trying,
            _ => Circuit::HalfOpen,
        }
    }

    /// A call starts. Returns whether it is the one trial of a half-open circuit.
    pub(crate) fn start(&mut self, now: Instant) -> bool {
        let is_trial = self.state(now) == Circuit::HalfOpen;
        self.trying |= is_trial;
        is_trial
    }

    /// The member answered.
    pub(crate) fn succeed(&mut self) {
        *self = Self { blocked_until: self.blocked_until, ..Self::new(self.rule) };
    }

    /// The member failed.
    pub(crate) fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.trying {
            self.cooldown = self.cooldown.saturating_mul(2).min(LONGEST);
        }
        // Calls that were under way when the circuit opened add nothing to it.
        let is_open = self.open_until.is_some_and(|until| until > now);
        if self.failures >= self.rule.failures && !is_open {
            self.open_until = now.checked_add(self.cooldown);
        }
        self.trying = false;
    }

    /// A trial ended without saying anything about the member.
    pub(crate) fn abandon_trial(&mut self) {
        self.trying = false;
    }

    /// The server asked to wait.
    pub(crate) fn block(&mut self, now: Instant, wait: Duration) {
        self.blocked_until = self.blocked_until.max(now.checked_add(wait.min(LONGEST)));
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(Rule { failures: 2, cooldown: 10 * SECOND }), Instant::now())
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_good_trial() {
        let (mut breaker, start) = breaker();
        breaker.fail(start);
        breaker.succeed();
        breaker.fail(start);
        assert_eq!(breaker.state(start), Circuit::Closed, "a success between them starts the count anew");
        breaker.fail(start);
        assert_eq!(breaker.state(start), Circuit::Open(start + 10 * SECOND));
        let later = start + 10 * SECOND;
        assert_eq!(breaker.state(later), Circuit::HalfOpen);
        assert!(breaker.start(later), "the first call is the trial");
        assert!(!breaker.start(later), "the second is not");
        assert_eq!(breaker.state(later), Circuit::Trying);
        breaker.succeed();
        assert_eq!((breaker.state(later), breaker.failures()), (Circuit::Closed, 0));
    }

    #[test]
    fn a_failed_trial_doubles_the_wait_up_to_a_limit() {
        let (mut breaker, mut now) = breaker();
        breaker.fail(now);
        breaker.fail(now);
        for seconds in [20, 40, 80, 160, 300, 300] {
            let Circuit::Open(until) = breaker.state(now) else { panic!("it is open") };
            now = until;
            assert!(breaker.start(now));
            breaker.fail(now);
            assert_eq!(breaker.state(now), Circuit::Open(now + seconds * SECOND));
        }
    }

    #[test]
    fn late_failures_do_not_prolong_it_and_an_abandoned_trial_can_be_repeated() {
        let (mut breaker, start) = breaker();
        for _ in 0..50 {
            breaker.fail(start + SECOND);
        }
        assert_eq!(breaker.state(start + SECOND), Circuit::Open(start + 11 * SECOND));
        let later = start + 11 * SECOND;
        assert!(breaker.start(later));
        breaker.abandon_trial();
        assert_eq!(breaker.state(later), Circuit::HalfOpen);
    }

    #[test]
    fn a_server_that_asks_to_wait_is_left_alone_without_having_failed() {
        let (mut breaker, start) = breaker();
        breaker.block(start, 5 * SECOND);
        breaker.block(start, SECOND);
        assert_eq!(breaker.state(start), Circuit::Open(start + 5 * SECOND));
        breaker.succeed();
        assert_eq!(
            breaker.state(start),
            Circuit::Open(start + 5 * SECOND),
            "another call's success does not lift it"
        );
        assert_eq!(breaker.state(start + 5 * SECOND), Circuit::Closed);
    }
}
