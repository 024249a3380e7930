CREATE SCHEMA keymanagement;

CREATE TABLE keymanagement.key_rotations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    key_id uuid NOT NULL,
    from_version integer NOT NULL,
    to_version integer NOT NULL,
    reason character varying(255),
    rotated_by character varying(255),
    rotated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT key_rotations_versions_check CHECK ((to_version > from_version))
);

CREATE TABLE keymanagement.keys (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    key_alias character varying(255) NOT NULL,
    key_type character varying(50) NOT NULL,
    algorithm character varying(50) NOT NULL,
    public_key text,
    encrypted_key_material bytea,
    status character varying(50) DEFAULT 'active'::character varying NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    rotation_days integer DEFAULT 90 NOT NULL,
    expires_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    rotated_at timestamp with time zone,
    CONSTRAINT keys_destroyed_check CHECK ((((status)::text <> 'destroyed'::text) OR (encrypted_key_material IS NULL))),
    CONSTRAINT keys_rotation_check CHECK ((rotation_days > 0)),
    CONSTRAINT keys_status_check CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'rotated'::character varying, 'revoked'::character varying, 'destroyed'::character varying])::text[]))),
    CONSTRAINT keys_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY keymanagement.key_rotations
    ADD CONSTRAINT key_rotations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY keymanagement.key_rotations
    ADD CONSTRAINT key_rotations_version_unique UNIQUE (key_id, to_version);

ALTER TABLE ONLY keymanagement.keys
    ADD CONSTRAINT keys_key_alias_key UNIQUE (key_alias);

ALTER TABLE ONLY keymanagement.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (id);

CREATE INDEX idx_keys_due ON keymanagement.keys USING btree (COALESCE(rotated_at, created_at)) WHERE ((status)::text = 'active'::text);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON keymanagement.key_rotations FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON keymanagement.keys FOR EACH ROW EXECUTE FUNCTION public.audit_changes('encrypted_key_material');

ALTER TABLE ONLY keymanagement.key_rotations
    ADD CONSTRAINT key_rotations_key_id_fkey FOREIGN KEY (key_id) REFERENCES keymanagement.keys(id);

GRANT USAGE ON SCHEMA keymanagement TO neo_app;
GRANT USAGE ON SCHEMA keymanagement TO neo_backup;
GRANT USAGE ON SCHEMA keymanagement TO neo_keymanagement_user;

GRANT SELECT,INSERT ON TABLE keymanagement.key_rotations TO neo_app;
GRANT SELECT ON TABLE keymanagement.key_rotations TO neo_backup;
GRANT SELECT,INSERT ON TABLE keymanagement.key_rotations TO neo_keymanagement_user;

GRANT SELECT,INSERT,UPDATE ON TABLE keymanagement.keys TO neo_app;
GRANT SELECT ON TABLE keymanagement.keys TO neo_backup;
GRANT SELECT,INSERT,UPDATE ON TABLE keymanagement.keys TO neo_keymanagement_user;
