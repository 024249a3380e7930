CREATE SCHEMA eventsourcing;

COMMENT ON SCHEMA eventsourcing IS 'Empty: events live in the database event_store. A server with one database keeps them here.';

GRANT USAGE ON SCHEMA eventsourcing TO neo_app;
GRANT USAGE ON SCHEMA eventsourcing TO neo_auditor;
GRANT USAGE ON SCHEMA eventsourcing TO neo_backup;
GRANT USAGE ON SCHEMA eventsourcing TO neo_readonly;
GRANT USAGE ON SCHEMA eventsourcing TO neo_retention;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA eventsourcing GRANT SELECT ON TABLES TO neo_auditor;
