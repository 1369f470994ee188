//! `getFile`.

use serde_json::json;

use super::super::answer::{Answer, ApiError};
use super::Request;

/// Gives the path a file can be downloaded from.
pub(super) fn get(request: &Request<'_>) -> Result<Answer, ApiError> {
    let id = request.params.get("file_id").unwrap_or_default();
    if id.is_empty() {
        return Err(ApiError::bad_request("file_id not specified"));
    }
    let limit = request.bot.shared.options.sizes.download;
    request.bot.with(|account| {
        let file = account
            .files
            .get(id)
            .ok_or_else(|| ApiError::bad_request("invalid file_id"))?;
        if file.bytes.len() as u64 > limit || file.told_size > limit {
            return Err(ApiError::bad_request("file is too big"));
        }
        let mut result = json!({
            "file_id": file.id,
            "file_unique_id": file.unique_id,
            "file_size": file.told_size,
        });
        let path = account.files.path(id).ok_or_else(|| {
            ApiError::bad_request("wrong file_id or the file is temporarily unavailable")
        })?;
        result["file_path"] = json!(path);
        Ok(Answer::new(&result))
    })
}
