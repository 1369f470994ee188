//! Lists that come in pages.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{extract::Limit, problem::Problem};

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass it as `after` to get what follows; `null` when nothing does. Opaque.
    #[schema(required)]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page of at most `limit` items out of `rows`, which hold one more where the list goes on.
    pub fn new<R>(mut rows: Vec<R>, limit: Limit, cursor: impl Fn(&R) -> String) -> Self
    where
        T: From<R>,
    {
        let goes_on = rows.len() > limit.get();
        rows.truncate(limit.get());
        Self {
            next: rows.last().filter(|_| goes_on).map(cursor),
            items: rows.into_iter().map(T::from).collect(),
        }
    }
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items of a page.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200, default = 50)]
    pub limit: Limit,
    /// `next` of the page before.
    pub after: Option<String>,
}

/// Reads a cursor that a page gave.
pub fn cursor<T: FromStr<Err: Display>>(after: Option<&str>) -> Result<Option<T>, Problem> {
    let wrong = || {
        let detail = "not a cursor of this list; pass `next` of a page as it came";
        Problem::parameter("after", detail)
    };
    match after {
        Some("") => Err(wrong()),
        Some(text) => text.parse().map(Some).map_err(|_| wrong()),
        None => Ok(None),
    }
}
