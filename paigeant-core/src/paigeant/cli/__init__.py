"""The command line (extra ``cli``). Nothing else imports it."""
