//! Query parameters: every one is known, given once (unless it may be repeated) and well-formed.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::failure::{Failure, Result};

/// Longest time that a caller may name, in seconds: a week, so that no arithmetic overflows.
pub(super) const MAX_SECONDS: u64 = 7 * 24 * 60 * 60;

/// The query of a request, taken apart parameter by parameter.
#[derive(Debug, Default)]
pub(super) struct Params(BTreeMap<String, Vec<String>>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Failure::invalid("the query is malformed"))?;
        let mut params = BTreeMap::<_, Vec<_>>::new();
        for (key, value) in pairs {
            params.entry(key).or_default().push(value);
        }
        Ok(Self(params))
    }
}

impl Params {
    /// Takes a parameter that may be repeated.
    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        self.0.remove(key).unwrap_or_default()
    }

    /// Takes a parameter that may be missing.
    pub(super) fn optional(&mut self, key: &str) -> Result<Option<String>> {
        let mut values = self.list(key);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Failure::invalid(format!("the parameter {key} is given twice"))),
        }
    }

    /// Takes a parameter that must be there and not empty.
    pub(super) fn required(&mut self, key: &str) -> Result<String> {
        self.optional(key)?
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Failure::invalid(format!("the parameter {key} is missing")))
    }

    /// Takes a number or a truth value that may be missing.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.optional(key)? else { return Ok(None) };
        let parsed = value.parse();
        parsed.map(Some).map_err(|_| Failure::invalid(format!("the parameter {key} is malformed")))
    }

    /// Takes a number from 1 to `max` that may be missing.
    pub(super) fn up_to(&mut self, key: &str, max: usize) -> Result<Option<usize>> {
        let value = self.parsed::<usize>(key)?;
        if value.is_some_and(|value| value == 0 || value > max) {
            let message = format!("the parameter {key} is to be between 1 and {max}");
            return Err(Failure::invalid(message));
        }
        Ok(value)
    }

    /// Takes a number of seconds, at least one, that may be missing.
    pub(super) fn seconds(&mut self, key: &str) -> Result<Option<Duration>> {
        self.parsed::<u64>(key)?.map(|value| seconds(key, value)).transpose()
    }

    /// Refuses what was not taken: a mistyped parameter is an error and not a default.
    pub(super) fn end(self) -> Result<()> {
        match self.0.keys().next() {
            Some(key) => Err(Failure::invalid(format!("there is no parameter {key:?}"))),
            None => Ok(()),
        }
    }
}

/// Checks a time in seconds: from one to [`MAX_SECONDS`].
pub(super) fn seconds(key: &str, value: u64) -> Result<Duration> {
    if value == 0 || value > MAX_SECONDS {
        return Err(Failure::invalid(format!("{key} is to be between 1 and {MAX_SECONDS}")));
    }
    Ok(Duration::from_secs(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn params(query: &str) -> Result<Params> {
        let request = axum::http::Request::builder().uri(format!("/?{query}"));
        let (mut parts, ()) = request.body(()).expect("a valid URI").into_parts();
        Params::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn parameters_are_taken_one_by_one() {
        let mut params = params("name=a%2Fb&allow=x&allow=y&limit=3").await.expect("well-formed");
        assert_eq!(params.required("name").expect("there"), "a/b");
        assert_eq!(params.list("allow"), ["x", "y"]);
        assert_eq!(params.parsed::<usize>("limit").expect("a number"), Some(3));
        assert_eq!(params.optional("tcp").expect("missing is allowed"), None);
        params.end().expect("all were taken");
    }

    #[tokio::test]
    async fn what_is_unknown_repeated_missing_or_malformed_is_refused() {
        assert!(params("limti=3").await.expect("well-formed").end().is_err());
        assert!(params("a=1&a=2").await.expect("well-formed").optional("a").is_err());
        assert!(params("name=").await.expect("well-formed").required("name").is_err());
        assert!(params("n=-1").await.expect("well-formed").parsed::<usize>("n").is_err());
        assert!(params("n=0").await.expect("well-formed").up_to("n", 5).is_err());
        assert!(params("n=6").await.expect("well-formed").up_to("n", 5).is_err());
        assert!(params("s=0").await.expect("well-formed").seconds("s").is_err());
        assert!(params("s=604801").await.expect("well-formed").seconds("s").is_err());
    }
}
