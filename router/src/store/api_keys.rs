//! API keys: 256 bits of the system's randomness, shown once, kept as SHA-256.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tributary_base::on;
use tributary_bus::OrganizationId;
use tributary_config::Secret;
use uuid::Uuid;

use super::{Store, StoreError};

/// What every key begins with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "trib_";
/// Bytes of randomness in a key.
const RANDOM_BYTES: usize = 32;
/// Characters of unpadded base64 that carry [`RANDOM_BYTES`].
const RANDOM_CHARS: usize = 43;

/// Names an API key; not the key itself.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct ApiKeyId(pub Uuid);

impl std::fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for ApiKeyId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// What is known of an API key after it was made.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ApiKey {
    pub id: ApiKeyId,
    /// For people: who uses it.
    pub name: String,
    pub created_at: DateTime<Utc>,
    /// Since when it is refused.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Whom a key speaks for.
#[derive(Debug, Clone)]
pub struct KeyHolder {
    pub key: ApiKeyId,
    pub organization: OrganizationId,
}

/// Why no key could be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    #[error("the system gives no randomness: {0}")]
    Randomness(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(sqlx::FromRow)]
struct HashRow {
    id: ApiKeyId,
    organization: OrganizationId,
    hash: Vec<u8>,
}

impl Store {
    /// Makes a key and answers it in plain text, which is not kept anywhere.
    ///
    /// # Errors
    /// No randomness, no database, or no such organization (a broken foreign key).
    pub async fn create_api_key(
        &self,
        organization: &OrganizationId,
        name: &str,
    ) -> Result<(ApiKey, Secret), CreateKeyError> {
        let mut random = [0; RANDOM_BYTES];
        SysRng
            .try_fill_bytes(&mut random)
            .map_err(|error| CreateKeyError::Randomness(error.to_string()))?;
        let plain = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
        let key = ApiKey {
            id: ApiKeyId(Uuid::now_v7()),
            name: name.to_owned(),
            created_at: Utc::now(),
            revoked_at: None,
        };
        self.within(async { Ok(on!(write &self.database, db => sqlx::query(
            "INSERT INTO api_keys (id, organization, name, hash, created_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(key.id)
        .bind(organization)
        .bind(&key.name)
        .bind(hash(&plain))
        .bind(key.created_at)
        .execute(db)
        .await
        .map(drop))?) }).await?;
        Ok((key, Secret::new(plain)))
    }

    /// The keys of an organization after `after`, oldest first, revoked ones too.
    ///
    /// # Errors
    /// No database.
    pub async fn api_keys(
        &self,
        organization: &OrganizationId,
        after: Option<ApiKeyId>,
        limit: i64,
    ) -> Result<Vec<ApiKey>, StoreError> {
        self.within(async {
            Ok(on!(read &self.database, db => sqlx::query_as::<_, ApiKey>(
            "SELECT id, name, created_at, revoked_at FROM api_keys
             WHERE organization = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3",
        )
        .bind(organization)
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await)?)
        })
        .await
    }

    /// Refuses the key from now on; a second time changes nothing. `None`: the organization has no such key.
    ///
    /// # Errors
    /// No database.
    pub async fn revoke_api_key(
        &self,
        organization: &OrganizationId,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, StoreError> {
        self.within(async { Ok(on!(write &self.database, db => sqlx::query_as::<_, ApiKey>(
            "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $3) WHERE organization = $1 AND id = $2
             RETURNING id, name, created_at, revoked_at",
        )
        .bind(organization)
        .bind(id)
        .bind(Utc::now())
        .fetch_optional(db)
        .await)?) }).await
    }

    /// Whom the presented text speaks for; `None` when it is no key, or a revoked one.
    ///
    /// # Errors
    /// No database.
    pub async fn key_holder(&self, presented: &str) -> Result<Option<KeyHolder>, StoreError> {
        if !has_the_shape_of_a_key(presented) {
            return Ok(None);
        }
        let presented = hash(presented);
        let row = self
            .within(async {
                Ok(on!(read &self.database, db => sqlx::query_as::<_, HashRow>(
            "SELECT id, organization, hash FROM api_keys WHERE hash = $1 AND revoked_at IS NULL",
        )
        .bind(presented.as_slice())
        .fetch_optional(db)
        .await)?)
            })
            .await?;
        Ok(row
            .filter(|row| bool::from(row.hash.ct_eq(&presented)))
            .map(|row| KeyHolder {
                key: row.id,
                organization: row.organization,
            }))
    }
}

/// Spares the database what cannot be a key.
fn has_the_shape_of_a_key(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|random| {
        random.len() == RANDOM_CHARS
            && random
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// A key has too much randomness to be guessed, so a plain hash is enough: a slow one would only cost every request.
fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_keys_are_looked_up() {
        let key = format!(
            "{PREFIX}{}",
            BASE64_URL_SAFE_NO_PAD.encode([7; RANDOM_BYTES])
        );
        assert!(has_the_shape_of_a_key(&key));
        for text in [
            "",
            "trib_",
            &key[1..],
            &key[..key.len() - 1],
            &format!("{key}A"),
            &key.replace('B', "/"),
        ] {
            assert!(!has_the_shape_of_a_key(text), "{text}");
        }
    }
}
