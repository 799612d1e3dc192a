//! What Rust's test harness printed, read.

/// A test that did not do its work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Skip {
    pub(crate) test: String,
    pub(crate) reason: String,
}

/// What the tests of one or more programs came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Passed, without those that said that they were skipped.
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    /// Ignored by attribute, or skipped by their own word.
    pub(crate) skipped: Vec<Skip>,
    /// The names of tests that passed.
    pub(crate) passed_names: Vec<String>,
    /// The names of tests that failed.
    pub(crate) failed_names: Vec<String>,
    /// The harness came to its end and said the result.
    pub(crate) finished: bool,
}

/// Reads the output of tests that were run with `--show-output`.
///
/// A test that cannot do its work prints `skipped: <test>: <reason>` on either output.
pub(crate) fn read(stdout: &str, stderr: &str) -> Tally {
    let mut tally = Tally::default();
    let mut own_word: Vec<Skip> = Vec::new();
    for line in stdout.lines().chain(stderr.lines()) {
        if let Some((_, skip)) = line.split_once("skipped: ").filter(|(before, _)| begins_a_line(before)) {
            own_word.extend(skip_of(skip));
        } else if let Some((test, result)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        {
            tally.test(test, result);
        } else if let Some(result) = line.strip_prefix("test result: ") {
            tally.finished = true;
            tally.passed += number_before(" passed", result);
            tally.failed += number_before(" failed", result);
        }
    }
    own_word.sort();
    own_word.dedup_by(|a, b| a.test == b.test);
    tally.passed = tally.passed.saturating_sub(own_word.len() as u32);
    tally.passed_names.retain(|name| !own_word.iter().any(|skip| is_named(name, &skip.test)));
    tally.skipped.extend(own_word);
    tally
}

impl Tally {
    fn test(&mut self, test: &str, result: &str) {
        let test = test.to_owned();
        match result {
            "ok" => self.passed_names.push(test),
            "FAILED" => self.failed_names.push(test),
            _ => {
                let Some(rest) = result.strip_prefix("ignored") else { return };
                let reason = rest.strip_prefix(", ").unwrap_or("ignored without a reason").to_owned();
                self.skipped.push(Skip { test, reason });
            }
        }
    }
}

/// Whether a path such as `module::name` ends with a test's own name.
pub(crate) fn is_named(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with("::"))
}

/// With one thread the harness has begun a line when a test prints past its capture.
fn begins_a_line(before: &str) -> bool {
    before.is_empty() || (before.starts_with("test ") && before.ends_with(" ... "))
}

fn skip_of(text: &str) -> Option<Skip> {
    let (test, reason) = text.split_once(": ")?;
    Some(Skip { test: test.to_owned(), reason: reason.trim().to_owned() })
}

fn number_before(what: &str, result: &str) -> u32 {
    let words = result.split(what).next().unwrap_or_default();
    words.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Skip, is_named, read};

    fn skip(test: &str, reason: &str) -> Skip {
        Skip { test: test.into(), reason: reason.into() }
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let tally = read(
            "\
running 4 tests
test one::a ... ok
test one::b ... ignored, needs a second machine
test one::c ... FAILED
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
test two ... ok
test three ... ignored
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s
",
            "",
        );
        assert!(tally.finished);
        assert_eq!((tally.passed, tally.failed), (2, 1));
        assert_eq!(tally.passed_names, ["one::a", "two"]);
        assert_eq!(tally.failed_names, ["one::c"]);
        let expected = [skip("one::b", "needs a second machine"), skip("three", "ignored without a reason")];
        assert_eq!(tally.skipped, expected);
    }

    #[test]
    fn a_test_that_says_it_was_skipped_did_not_pass() {
        let tally = read(
            "\
test rebuild ... ok
test load ... skipped: load: no privileges
ok
test other ... ok
test captured ... ok
successes:
---- m::captured stdout ----
skipped: captured: no device a::b: c
test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
",
            "skipped: rebuild: no toolchain\nskipped: rebuild: no toolchain\n",
        );
        assert_eq!((tally.passed, tally.failed), (1, 0));
        assert_eq!(tally.passed_names, ["other"]);
        let expected = [
            skip("captured", "no device a::b: c"),
            skip("load", "no privileges"),
            skip("rebuild", "no toolchain"),
        ];
        assert_eq!(tally.skipped, expected);
    }

    #[test]
    fn prose_is_not_a_skip_and_silence_is_not_a_result() {
        let tally = read("two frames were skipped: a: b\ntest a ... ok\n", "");
        assert!(tally.skipped.is_empty());
        assert!(!tally.finished);
        assert_eq!(tally.passed, 0);
    }

    #[test]
    fn names_end_paths_at_a_boundary() {
        assert!(is_named("a::b", "b") && is_named("b", "b"));
        assert!(!is_named("a::bb", "b"));
    }
}
