CREATE SCHEMA notification;

CREATE TABLE notification.notifications (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name character varying(255) NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT notifications_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'sent'::character varying, 'delivered'::character varying, 'failed'::character varying, 'read'::character varying])::text[])))
);

ALTER TABLE ONLY notification.notifications FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY notification.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);

CREATE INDEX idx_notifications_status ON notification.notifications USING btree (tenant_id, status, created_at);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON notification.notifications FOR EACH ROW EXECUTE FUNCTION public.audit_changes('payload');

CREATE TRIGGER set_updated_at BEFORE UPDATE ON notification.notifications FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY notification.notifications
    ADD CONSTRAINT notifications_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE notification.notifications ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON notification.notifications USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA notification TO neo_app;
GRANT USAGE ON SCHEMA notification TO neo_backup;
GRANT USAGE ON SCHEMA notification TO neo_readonly;
GRANT USAGE ON SCHEMA notification TO neo_notification_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE notification.notifications TO neo_app;
GRANT SELECT ON TABLE notification.notifications TO neo_backup;
GRANT SELECT ON TABLE notification.notifications TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE notification.notifications TO neo_notification_user;
