"""HMAC-SHA-256 signatures (JWS ``HS256``) with a shared key, on the standard library alone."""
