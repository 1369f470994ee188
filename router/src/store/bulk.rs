//! Many rows in one statement: `UNNEST` on PostgreSQL, `VALUES` on SQLite. A table's columns are named once for both.

use std::{borrow::Cow, sync::Arc};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow, postgres::PgRow, sqlite::SqliteRow};
use tributary_base::database::Tx;
use uuid::Uuid;

/// Rows of one statement on SQLite: few sizes, so that the statements stay prepared.
const SQLITE_ROWS: [usize; 3] = [32, 4, 1];

/// The values of one column, one per row.
#[derive(Debug, Clone)]
pub(crate) enum Column<'a> {
    Id(Vec<Uuid>),
    MaybeId(Vec<Option<Uuid>>),
    Text(Vec<Cow<'a, str>>),
    MaybeText(Vec<Option<Cow<'a, str>>>),
    Number(Vec<i64>),
    Flag(Vec<bool>),
    Time(Vec<DateTime<Utc>>),
    MaybeTime(Vec<Option<DateTime<Utc>>>),
}

/// Rows of one table.
#[derive(Debug, Clone)]
pub(crate) struct Bulk<'a> {
    table: &'static str,
    rows: usize,
    columns: Vec<(&'static str, Column<'a>)>,
}

/// Runs the body with the values of a column, whatever their type.
macro_rules! with_values {
    ($column:expr, $values:ident => $body:expr) => {
        match $column {
            Column::Id($values) => $body,
            Column::MaybeId($values) => $body,
            Column::Text($values) => $body,
            Column::MaybeText($values) => $body,
            Column::Number($values) => $body,
            Column::Flag($values) => $body,
            Column::Time($values) => $body,
            Column::MaybeTime($values) => $body,
        }
    };
}

impl Column<'_> {
    fn array_type(&self) -> &'static str {
        match self {
            Self::Id(_) | Self::MaybeId(_) => "uuid[]",
            Self::Text(_) | Self::MaybeText(_) => "text[]",
            Self::Number(_) => "bigint[]",
            Self::Flag(_) => "boolean[]",
            Self::Time(_) | Self::MaybeTime(_) => "timestamptz[]",
        }
    }
}

impl<'a> Bulk<'a> {
    /// Rows for `table`. Every column has as many values as there are `rows`.
    pub fn new(table: &'static str, rows: usize, columns: Vec<(&'static str, Column<'a>)>) -> Self {
        Self {
            table,
            rows,
            columns,
        }
    }

    /// Inserts the rows in their order; `conflict` is an `ON CONFLICT` clause or empty.
    pub async fn insert(self, tx: &mut Tx, conflict: &str) -> Result<(), sqlx::Error> {
        let table = self.table;
        let names = self.names();
        // Without WHERE, SQLite would take ON CONFLICT for the condition of a join.
        let statement = |source| {
            format!(
                "INSERT INTO {table} ({names}) SELECT {names} FROM {source} WHERE TRUE {conflict}"
            )
        };
        self.run(tx, statement).await
    }

    /// Sets the columns of the rows whose key, the first column, is given.
    pub async fn update(self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        let table = self.table;
        let mut names = self.columns.iter().map(|(name, _)| *name);
        let key = names.next().unwrap_or_default();
        let set: Vec<String> = names.map(|name| format!("{name} = u.{name}")).collect();
        let set = set.join(", ");
        let statement = |source| {
            format!("UPDATE {table} SET {set} FROM {source} WHERE {table}.{key} = u.{key}")
        };
        self.run(tx, statement).await
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// The rows as PostgreSQL's source `u`. `UNNEST` keeps the order of its arrays, so that serial numbers rise with it.
    fn unnest(&self) -> String {
        let arrays: Vec<String> = (1..)
            .zip(&self.columns)
            .map(|(n, (_, column))| format!("${n}::{}", column.array_type()))
            .collect();
        format!("UNNEST({}) AS u({})", arrays.join(", "), self.names())
    }

    /// That many rows as SQLite's source `u`.
    fn values(&self, rows: usize) -> String {
        // Without numbers: SQLite looks numbered places up one by one, in time that grows with their square.
        let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
        let rows = vec![row; rows];
        let named: Vec<String> = (1..)
            .zip(&self.columns)
            .map(|(n, (name, _))| format!("column{n} AS {name}"))
            .collect();
        format!(
            "(SELECT {} FROM (VALUES {})) AS u",
            named.join(", "),
            rows.join(", ")
        )
    }

    async fn run(
        self,
        tx: &mut Tx,
        statement: impl Fn(String) -> String + Send,
    ) -> Result<(), sqlx::Error> {
        if self.rows == 0 {
            return Ok(());
        }
        match tx {
            Tx::Postgres(tx) => {
                let mut query = sqlx::query(AssertSqlSafe(statement(self.unnest())));
                for (_, column) in self.columns {
                    query = with_values!(column, values => query.bind(values));
                }
                query.execute(&mut **tx).await?;
            }
            Tx::Sqlite(tx) => {
                let mut done = 0;
                for size in SQLITE_ROWS {
                    if self.rows - done < size {
                        continue;
                    }
                    let statement: Arc<str> = Arc::from(statement(self.values(size)));
                    while self.rows - done >= size {
                        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&statement)));
                        for row in done..done + size {
                            for (_, column) in &self.columns {
                                query = with_values!(column, values => {
                                    let value = &values[row];
                                    query.bind(value)
                                });
                            }
                        }
                        query.execute(&mut **tx).await?;
                        done += size;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A row that can be read from either database.
pub(crate) trait AnyRow:
    Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>
{
}

impl<R> AnyRow for R where
    R: Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>
{
}

/// Selects by a list of ids. In the statement `{ids}` stands for the condition (`WHERE id {ids}`) and `{lock}` for the
/// clause that locks the rows (SQLite's transaction has locked everything already).
pub(crate) async fn select_by_ids<R: AnyRow>(
    tx: &mut Tx,
    statement: &str,
    ids: &[Uuid],
) -> Result<Vec<R>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let statement = for_database(tx, statement);
    match tx {
        Tx::Postgres(tx) => {
            let query = sqlx::query_as(AssertSqlSafe(statement)).bind(ids);
            query.fetch_all(&mut **tx).await
        }
        Tx::Sqlite(tx) => {
            let query = sqlx::query_as(AssertSqlSafe(statement)).bind(id_list(ids));
            query.fetch_all(&mut **tx).await
        }
    }
}

/// Replaces `{ids}` (a list of ids as `$1`) and `{lock}`.
pub(crate) fn for_database(tx: &Tx, statement: &str) -> String {
    let (ids, lock) = if tx.is_postgres() {
        ("= ANY($1)", "FOR UPDATE")
    } else {
        ("IN (SELECT unhex(value) FROM json_each($1))", "")
    };
    statement.replace("{ids}", ids).replace("{lock}", lock)
}

/// A list of ids as SQLite reads it.
pub(crate) fn id_list(ids: &[Uuid]) -> String {
    let list: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
    serde_json::json!(list).to_string()
}
