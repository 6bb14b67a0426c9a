SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA dbos;
CREATE FUNCTION dbos.enqueue_workflow(workflow_name text, queue_name text, positional_args json[] DEFAULT ARRAY[]::json[], named_args json DEFAULT '{}'::json, class_name text DEFAULT NULL::text, config_name text DEFAULT NULL::text, workflow_id text DEFAULT NULL::text, app_version text DEFAULT NULL::text, timeout_ms bigint DEFAULT NULL::bigint, deadline_epoch_ms bigint DEFAULT NULL::bigint, deduplication_id text DEFAULT NULL::text, priority integer DEFAULT NULL::integer, queue_partition_key text DEFAULT NULL::text, authenticated_user text DEFAULT NULL::text, authenticated_roles text DEFAULT NULL::text, delay_until_epoch_ms bigint DEFAULT NULL::bigint, application_name text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_workflow_id TEXT;
    v_serialized_inputs TEXT;
    v_owner_xid TEXT;
    v_now BIGINT;
    v_recovery_attempts INT4 := 0;
    v_priority INT4;
    v_status TEXT;
BEGIN
    -- Validate required parameters
    IF workflow_name IS NULL OR workflow_name = '' THEN
        RAISE EXCEPTION 'Workflow name cannot be null or empty';
    END IF;
    IF queue_name IS NULL OR queue_name = '' THEN
        RAISE EXCEPTION 'Queue name cannot be null or empty';
    END IF;
    IF named_args IS NOT NULL AND jsonb_typeof(named_args::jsonb) != 'object' THEN
        RAISE EXCEPTION 'Named args must be a JSON object';
    END IF;
    IF workflow_id IS NOT NULL AND workflow_id = '' THEN
        RAISE EXCEPTION 'Workflow ID cannot be an empty string if provided.';
    END IF;
    IF delay_until_epoch_ms IS NOT NULL AND delay_until_epoch_ms < 0 THEN
        RAISE EXCEPTION 'delay_until_epoch_ms must be >= 0';
    END IF;
    v_workflow_id := COALESCE(workflow_id, gen_random_uuid()::TEXT);
    v_owner_xid := gen_random_uuid()::TEXT;
    v_priority := COALESCE(priority, 0);
    v_serialized_inputs := json_build_object(
        'positionalArgs', positional_args,
        'namedArgs', named_args
    )::TEXT;
    v_now := EXTRACT(epoch FROM now()) * 1000;
    v_status := CASE WHEN delay_until_epoch_ms IS NULL THEN 'ENQUEUED' ELSE 'DELAYED' END;
    INSERT INTO "dbos".workflow_status (
        workflow_uuid, status,
        name, class_name, config_name,
        queue_name, deduplication_id, priority, queue_partition_key,
        application_version,
        created_at, updated_at, recovery_attempts,
        workflow_timeout_ms, workflow_deadline_epoch_ms,
        parent_workflow_id, owner_xid, serialization,
        authenticated_user, authenticated_roles,
        delay_until_epoch_ms, application_name
    ) VALUES (
        v_workflow_id, v_status,
        workflow_name, class_name, config_name,
        queue_name, deduplication_id, v_priority, queue_partition_key,
        app_version,
        v_now, v_now, v_recovery_attempts,
        timeout_ms, deadline_epoch_ms,
        NULL, v_owner_xid, 'portable_json',
        authenticated_user, authenticated_roles,
        delay_until_epoch_ms, application_name
    )
    ON CONFLICT (workflow_uuid)
    DO UPDATE SET
        updated_at = EXCLUDED.updated_at;
    INSERT INTO "dbos".workflow_input (
        workflow_uuid, inputs, retention_timestamp
    ) VALUES (
        v_workflow_id, v_serialized_inputs, v_now
    )
    ON CONFLICT (workflow_uuid) DO NOTHING;
    RETURN v_workflow_id;
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'DBOS queue duplicated'
            USING DETAIL = format('Workflow %s with queue %s and deduplication ID %s already exists', v_workflow_id, queue_name, deduplication_id),
                ERRCODE = 'unique_violation';
END;
$$;
CREATE FUNCTION dbos.send_message(destination_id text, message json, topic text DEFAULT NULL::text, message_id text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_topic TEXT := COALESCE(topic, '__null__topic__');
    v_message_id TEXT := COALESCE(message_id, gen_random_uuid()::TEXT);
BEGIN
    INSERT INTO "dbos".notifications (
        destination_uuid, topic, message, message_uuid, serialization
    ) VALUES (
        destination_id, v_topic, message, v_message_id, 'portable_json'
    )
    ON CONFLICT (message_uuid) DO NOTHING;
EXCEPTION
    WHEN foreign_key_violation THEN
        RAISE EXCEPTION 'DBOS non-existent workflow'
            USING DETAIL = format('Destination workflow %s does not exist', destination_id),
                ERRCODE = 'foreign_key_violation';
END;
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE dbos.application_versions (
    version_id text NOT NULL,
    version_name text NOT NULL,
    version_timestamp bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    created_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    application_name text
);
CREATE TABLE dbos.dbos_migrations (
    version bigint NOT NULL
);
CREATE TABLE dbos.event_dispatch_kv (
    service_name text NOT NULL,
    workflow_fn_name text NOT NULL,
    key text NOT NULL,
    value text,
    update_seq numeric(38,0),
    update_time numeric(38,15)
);
CREATE TABLE dbos.notifications (
    message_uuid text DEFAULT gen_random_uuid() NOT NULL,
    destination_uuid text NOT NULL,
    topic text,
    message text NOT NULL,
    created_at_epoch_ms bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    serialization text,
    consumed boolean DEFAULT false NOT NULL,
    consumed_by_function_id integer
);
CREATE TABLE dbos.operation_outputs (
    workflow_uuid text NOT NULL,
    function_id integer NOT NULL,
    function_name text DEFAULT ''::text NOT NULL,
    output text,
    error text,
    child_workflow_id text,
    started_at_epoch_ms bigint,
    completed_at_epoch_ms bigint,
    serialization text,
    application_name text,
    retention_timestamp bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL
);
CREATE TABLE dbos.queues (
    queue_id text DEFAULT (gen_random_uuid())::text NOT NULL,
    name text NOT NULL,
    concurrency integer,
    worker_concurrency integer,
    rate_limit_max integer,
    rate_limit_period_sec double precision,
    priority_enabled boolean DEFAULT false NOT NULL,
    partition_queue boolean DEFAULT false NOT NULL,
    polling_interval_sec double precision DEFAULT 1.0 NOT NULL,
    created_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    updated_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    application_name text,
    partition_concurrency integer,
    partition_worker_concurrency integer,
    partition_rate_limit_max integer,
    partition_rate_limit_period_sec double precision
);
CREATE TABLE dbos.streams (
    workflow_uuid text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    "offset" integer NOT NULL,
    function_id integer DEFAULT 0 NOT NULL,
    serialization text
);
CREATE TABLE dbos.workflow_events (
    workflow_uuid text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    serialization text
);
CREATE TABLE dbos.workflow_events_history (
    workflow_uuid text NOT NULL,
    function_id integer NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    serialization text
);
CREATE TABLE dbos.workflow_input (
    workflow_uuid text NOT NULL,
    inputs text,
    retention_timestamp bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL
);
CREATE TABLE dbos.workflow_output (
    workflow_uuid text NOT NULL,
    output text,
    error text,
    retention_timestamp bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL
);
CREATE TABLE dbos.workflow_schedules (
    schedule_id text NOT NULL,
    schedule_name text NOT NULL,
    workflow_name text NOT NULL,
    workflow_class_name text,
    schedule text NOT NULL,
    status text DEFAULT 'ACTIVE'::text NOT NULL,
    context text NOT NULL,
    last_fired_at text,
    automatic_backfill boolean DEFAULT false NOT NULL,
    cron_timezone text,
    queue_name text,
    application_name text
);
CREATE TABLE dbos.workflow_status (
    workflow_uuid text NOT NULL,
    status text,
    name text,
    authenticated_user text,
    assumed_role text,
    authenticated_roles text,
    request text,
    output text,
    error text,
    executor_id text,
    created_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    updated_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    application_version text,
    application_id text,
    class_name character varying(255) DEFAULT NULL::character varying,
    config_name character varying(255) DEFAULT NULL::character varying,
    recovery_attempts bigint DEFAULT 0,
    queue_name text,
    workflow_timeout_ms bigint,
    workflow_deadline_epoch_ms bigint,
    inputs text,
    started_at_epoch_ms bigint,
    deduplication_id text,
    priority integer DEFAULT 0 NOT NULL,
    queue_partition_key text,
    forked_from text,
    owner_xid text,
    parent_workflow_id text,
    serialization text,
    delay_until_epoch_ms bigint,
    was_forked_from boolean DEFAULT false NOT NULL,
    rate_limited boolean DEFAULT false NOT NULL,
    completed_at bigint,
    attributes jsonb,
    schedule_name text,
    debounce_deadline_epoch_ms bigint,
    is_debounced boolean DEFAULT false NOT NULL,
    application_name text,
    creator_xid text
);
CREATE TABLE public.vmkiln_access_token (
    hash character varying(64) NOT NULL,
    object_id character varying(260) NOT NULL,
    name character varying(260) NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE TABLE public.vmkiln_client_secret (
    secret_id character varying(36) NOT NULL,
    app_id character varying(36) NOT NULL,
    salt character varying(32) NOT NULL,
    hash character varying(128) NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE TABLE public.vmkiln_host (
    boot character varying(36) NOT NULL,
    host_id character varying(36) NOT NULL,
    name character varying(120) NOT NULL,
    architecture character varying(20) NOT NULL,
    isolation_level character varying(20) NOT NULL,
    region character varying(100) NOT NULL,
    cpus integer NOT NULL,
    memory_mib bigint NOT NULL,
    disk_mib bigint NOT NULL,
    is_draining boolean NOT NULL,
    is_dead boolean NOT NULL,
    started double precision NOT NULL,
    lease_until double precision NOT NULL
);
CREATE TABLE public.vmkiln_image (
    key character varying(600) NOT NULL,
    artifact_id character varying(600) NOT NULL,
    kind character varying(30) NOT NULL,
    path text NOT NULL,
    format character varying(10) NOT NULL,
    digest character varying(64) NOT NULL,
    size_bytes bigint NOT NULL,
    virtual_size_bytes bigint NOT NULL,
    generation integer NOT NULL,
    os_type character varying(10) NOT NULL,
    source_version character varying(200) NOT NULL,
    run_id character varying(36) NOT NULL,
    tags json NOT NULL,
    detail json NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE TABLE public.vmkiln_image_definition (
    key character varying(600) NOT NULL,
    definition_id character varying(600) NOT NULL,
    os_type character varying(10) NOT NULL,
    generation integer NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE TABLE public.vmkiln_operation (
    operation_id character varying(36) NOT NULL,
    kind character varying(60) NOT NULL,
    subscription_id character varying(260) NOT NULL,
    location character varying(100) NOT NULL,
    resource_id character varying(1100) NOT NULL,
    run_id character varying(36) NOT NULL,
    status character varying(20) NOT NULL,
    error json NOT NULL,
    started timestamp with time zone NOT NULL,
    ended timestamp with time zone
);
CREATE TABLE public.vmkiln_phase (
    run_id character varying(36) NOT NULL,
    number integer NOT NULL,
    name character varying(40) NOT NULL,
    started timestamp with time zone NOT NULL,
    ended timestamp with time zone
);
CREATE TABLE public.vmkiln_principal (
    app_id character varying(36) NOT NULL,
    object_id character varying(36) NOT NULL,
    display_name character varying(260) NOT NULL,
    created timestamp with time zone NOT NULL,
    is_disabled boolean NOT NULL
);
CREATE TABLE public.vmkiln_reservation (
    run_id character varying(36) NOT NULL,
    attempt integer NOT NULL,
    boot character varying(36) NOT NULL,
    cpus integer NOT NULL,
    memory_mib bigint NOT NULL,
    disk_mib bigint NOT NULL,
    placed double precision NOT NULL
);
CREATE TABLE public.vmkiln_resource (
    key character varying(1100) NOT NULL,
    id character varying(1100) NOT NULL,
    type character varying(200) NOT NULL,
    name character varying(260) NOT NULL,
    parent character varying(1100) NOT NULL,
    subscription_id character varying(260) NOT NULL,
    resource_group character varying(260) NOT NULL,
    location character varying(100) NOT NULL,
    tags json NOT NULL,
    identity json,
    properties json NOT NULL,
    state json NOT NULL,
    etag character varying(36) NOT NULL,
    created timestamp with time zone NOT NULL,
    changed timestamp with time zone NOT NULL,
    created_by character varying(260) NOT NULL,
    changed_by character varying(260) NOT NULL
);
CREATE TABLE public.vmkiln_revision (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.vmkiln_role_assignment (
    assignment_id character varying(36) NOT NULL,
    object_id character varying(260) NOT NULL,
    role character varying(20) NOT NULL,
    scope character varying(600) NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE TABLE public.vmkiln_run (
    run_id character varying(36) NOT NULL,
    template_name character varying(64) NOT NULL,
    resource_group character varying(90) NOT NULL,
    template json NOT NULL,
    state character varying(20) NOT NULL,
    sub_state character varying(20) NOT NULL,
    message text NOT NULL,
    error_code character varying(64) NOT NULL,
    staging_group character varying(120) NOT NULL,
    facts json NOT NULL,
    started timestamp with time zone NOT NULL,
    ended timestamp with time zone,
    template_id character varying(600) DEFAULT ''::character varying NOT NULL
);
CREATE TABLE public.vmkiln_run_output (
    run_id character varying(36) NOT NULL,
    name character varying(64) NOT NULL,
    artifact_id character varying(600) NOT NULL,
    artifact_uri text NOT NULL,
    state character varying(20) NOT NULL,
    message text NOT NULL
);
CREATE TABLE public.vmkiln_staging_group (
    name character varying(120) NOT NULL,
    run_id character varying(36) NOT NULL,
    storage_account character varying(24) NOT NULL,
    tags json NOT NULL,
    created timestamp with time zone NOT NULL,
    deleted timestamp with time zone
);
CREATE TABLE public.vmkiln_staging_resource (
    number integer NOT NULL,
    group_name character varying(120) NOT NULL,
    run_id character varying(36) NOT NULL,
    type character varying(80) NOT NULL,
    name character varying(120) NOT NULL,
    state character varying(10) NOT NULL,
    detail json NOT NULL,
    created timestamp with time zone NOT NULL,
    deleted timestamp with time zone
);
CREATE SEQUENCE public.vmkiln_staging_resource_number_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.vmkiln_staging_resource_number_seq OWNED BY public.vmkiln_staging_resource.number;
ALTER TABLE ONLY public.vmkiln_staging_resource ALTER COLUMN number SET DEFAULT nextval('public.vmkiln_staging_resource_number_seq'::regclass);
INSERT INTO dbos.application_versions VALUES ('04514c6b-f7d6-4b01-82e3-66ce68fe8cd4', '1', 1795867025026, 1795867025026, 'vmkiln');
INSERT INTO dbos.dbos_migrations VALUES (125);
INSERT INTO dbos.operation_outputs VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a-a1', 1, 'build', 'null', NULL, NULL, 1795867025043, 1795867025267, 'portable_json', 'vmkiln', 1795867025269);
INSERT INTO dbos.operation_outputs VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a-a1', 2, 'settle', 'null', NULL, NULL, 1795867025271, 1795867025274, 'portable_json', 'vmkiln', 1795867025275);
INSERT INTO dbos.operation_outputs VALUES ('687c7705-1332-4c20-a24e-efd9edb64a6f-a1', 1, 'build', 'null', NULL, NULL, 1795867025364, 1795867025449, 'portable_json', 'vmkiln', 1795867025450);
INSERT INTO dbos.operation_outputs VALUES ('687c7705-1332-4c20-a24e-efd9edb64a6f-a1', 2, 'settle', 'null', NULL, NULL, 1795867025450, 1795867025453, 'portable_json', 'vmkiln', 1795867025454);
INSERT INTO dbos.workflow_input VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a-a1', '{"namedArgs":{},"positionalArgs":["fcf75d37-07c9-4cb4-8336-aa20929aea2a",1]}', 1795867025039);
INSERT INTO dbos.workflow_input VALUES ('687c7705-1332-4c20-a24e-efd9edb64a6f-a1', '{"namedArgs":{},"positionalArgs":["687c7705-1332-4c20-a24e-efd9edb64a6f",1]}', 1795867025363);
INSERT INTO dbos.workflow_input VALUES ('d2e1ab30-a4dc-47b5-8cf5-371da61e9bfb-a1', '{"namedArgs":{},"positionalArgs":["d2e1ab30-a4dc-47b5-8cf5-371da61e9bfb",1]}', 1795867025493);
INSERT INTO dbos.workflow_output VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a-a1', 'null', NULL, 1795867025279);
INSERT INTO dbos.workflow_output VALUES ('687c7705-1332-4c20-a24e-efd9edb64a6f-a1', 'null', NULL, 1795867025456);
INSERT INTO dbos.workflow_status VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a-a1', 'SUCCESS', 'attempt', NULL, NULL, NULL, NULL, NULL, NULL, '81f77620-9b8f-4006-a851-3c83b58c05fa', 1795867025039, 1795867025279, '1', '', NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, 'portable_json', NULL, false, false, 1795867025279, 'null', NULL, NULL, false, 'vmkiln', '5500c3dc-fa9f-47c6-9ff8-5ed826070fea');
INSERT INTO dbos.workflow_status VALUES ('687c7705-1332-4c20-a24e-efd9edb64a6f-a1', 'SUCCESS', 'attempt', NULL, NULL, NULL, NULL, NULL, NULL, '81f77620-9b8f-4006-a851-3c83b58c05fa', 1795867025363, 1795867025456, '1', '', NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, 'portable_json', NULL, false, false, 1795867025456, 'null', NULL, NULL, false, 'vmkiln', '684443ec-1b01-4402-8a67-bc3a16b95da6');
INSERT INTO dbos.workflow_status VALUES ('d2e1ab30-a4dc-47b5-8cf5-371da61e9bfb-a1', 'PENDING', 'attempt', NULL, NULL, NULL, NULL, NULL, NULL, '81f77620-9b8f-4006-a851-3c83b58c05fa', 1795867025493, 1795867025493, '1', '', NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, '1ea72a3c-7e72-40db-b026-437a1dfb7a33', NULL, 'portable_json', NULL, false, false, NULL, 'null', NULL, NULL, false, 'vmkiln', '1ea72a3c-7e72-40db-b026-437a1dfb7a33');
INSERT INTO public.vmkiln_access_token VALUES ('7713033f621ece1ef0585ccd95d4141ff876bb354a21fb6bd95c3cb92a42904d', '4324c861-88b3-4e06-a051-62e6a4e05edb', 'kept', '2026-11-28 11:57:03.801106+00');
INSERT INTO public.vmkiln_client_secret VALUES ('21b720e9-c040-44ef-89c4-041563794fad', 'ea550ef7-0b68-47b0-9273-959524a417d3', '08bd952cdabc8b5d64f2fb1f132f54c7', 'b7ff1fd246e2333be77d2fa3fca22a235ade78b19e50df47dc9d79212b7780be72ad6fb4057c176d96f06f920dff5b78d4ad73863fe48e869c3029ea56be3307', '2026-11-28 11:56:54.130782+00');
INSERT INTO public.vmkiln_client_secret VALUES ('93bccd8b-7d20-43a6-85c7-0166bee25f5c', 'b2c3f124-c037-4caf-a12e-2ad280293d9c', '22fa661cb1f5de402a7f5b63ce7d4187', 'c378fd342a59ff5092a72efdfc2ffb4f2858a836e8ff239010796ef8866b464e07d95cc67354b5b8b0e9f2924869c2cee2b28db42ce52b9e084289e7497a5500', '2026-11-28 11:56:58.416474+00');
INSERT INTO public.vmkiln_host VALUES ('81f77620-9b8f-4006-a851-3c83b58c05fa', '15605465-4e8c-45ad-b3ca-acfa51be6e47', 'vm', 'x64', '', '', 2, 1048576, 1073741824, false, false, 1795867014.152841, 1795867104.167836);
INSERT INTO public.vmkiln_image VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/images/web', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/web', 'ManagedImage', 'images/web-03d12ea3a36c-fcf75d37-1/disk.qcow2', 'qcow2', '5cf83d27324b8fa5e5c20b6615d2d41a7bdb6a80c41cc2c6db4bee867666eaf8', 393216, 1048576, 1, 'Linux', '1.2.3', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', '{}', '{"location": "westus2"}', '2026-11-28 11:57:05.21715+00');
INSERT INTO public.vmkiln_image VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g/images/d/versions/1.0.0', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d/versions/1.0.0', 'SharedImageVersion', 'images/1.0.0-b0184c383ccf-fcf75d37-1/disk.qcow2', 'qcow2', '5cf83d27324b8fa5e5c20b6615d2d41a7bdb6a80c41cc2c6db4bee867666eaf8', 393216, 1048576, 1, 'Linux', '1.2.3', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', '{}', '{"exclude_from_latest": false, "replication_mode": "Full", "regions": [{"name": "westus2", "replica_count": 1, "storage_account_type": "Standard_LRS"}]}', '2026-11-28 11:57:05.229285+00');
INSERT INTO public.vmkiln_image VALUES ('/staging/it_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3/vhds/vhd_20261128115705.vhd', '/staging/IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3/vhds/vhd_20261128115705.vhd', 'VHD', 'staging/IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3/o5k1rd1jtxr91tkuiuaf7ba3/vhds/vhd_20261128115705.vhd', 'vhd', '47478c22ffbe8cc053d73f768079888f01138283fa8832c2df225e3426e3e259', 1049088, 1048576, 1, 'Linux', '1.2.3', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', '{}', '{}', '2026-11-28 11:57:05.233699+00');
INSERT INTO public.vmkiln_image_definition VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g/images/d', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d', 'Linux', 1, '2026-11-28 11:56:54.680957+00');
INSERT INTO public.vmkiln_operation VALUES ('85f8bb4d-4980-43e2-b1cd-02bd335812c4', 'provision', '00000000-0000-0000-0000-000000000000', 'westus2', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/web', '', 'Succeeded', '{}', '2026-11-28 11:57:04.189786+00', '2026-11-28 11:57:04.218438+00');
INSERT INTO public.vmkiln_operation VALUES ('d72e6cd3-fd5c-469c-83a7-c18a702784bf', 'provision', '00000000-0000-0000-0000-000000000000', 'westus2', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/broken', '', 'Succeeded', '{}', '2026-11-28 11:57:04.218672+00', '2026-11-28 11:57:04.243297+00');
INSERT INTO public.vmkiln_operation VALUES ('218f663a-fee4-4bf2-b276-564d6c7b1da1', 'provision', '00000000-0000-0000-0000-000000000000', 'westus2', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/going', '', 'Succeeded', '{}', '2026-11-28 11:57:04.236094+00', '2026-11-28 11:57:04.270149+00');
INSERT INTO public.vmkiln_operation VALUES ('8c45d26c-52f9-4925-bb9b-4c85ae6c8871', 'provision', '00000000-0000-0000-0000-000000000000', 'westus2', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure', '', 'Succeeded', '{}', '2026-11-28 11:57:04.288506+00', '2026-11-28 11:57:04.496962+00');
INSERT INTO public.vmkiln_operation VALUES ('846bdaed-5b25-494a-90fd-3b711c184097', 'run', '00000000-0000-0000-0000-000000000000', 'westus2', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/web', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'InProgress', '{}', '2026-11-28 11:57:04.596567+00', NULL);
INSERT INTO public.vmkiln_operation VALUES ('9e9706af-6b56-440f-a7a6-0c7c71da2342', 'run', '00000000-0000-0000-0000-000000000000', 'westus2', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/broken', '687c7705-1332-4c20-a24e-efd9edb64a6f', 'InProgress', '{}', '2026-11-28 11:57:05.344756+00', NULL);
INSERT INTO public.vmkiln_operation VALUES ('f403c725-7821-44a3-8338-0708c0822130', 'run', '00000000-0000-0000-0000-000000000000', 'westus2', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/going', 'd2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 'InProgress', '{}', '2026-11-28 11:57:05.477807+00', NULL);
INSERT INTO public.vmkiln_operation VALUES ('c9b7902f-88c3-4b7f-a9ec-7f7743663ad9', 'run', '00000000-0000-0000-0000-000000000000', 'westus2', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure', 'ba25f6c3-6d31-4e90-965b-ba126b95e3b6', 'InProgress', '{}', '2026-11-28 11:57:05.618045+00', NULL);
INSERT INTO public.vmkiln_phase VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a', 0, 'Building', '2026-11-28 11:57:05.059302+00', '2026-11-28 11:57:05.124283+00');
INSERT INTO public.vmkiln_phase VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a', 1, 'Customizing', '2026-11-28 11:57:05.12471+00', '2026-11-28 11:57:05.181722+00');
INSERT INTO public.vmkiln_phase VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a', 2, 'Distributing', '2026-11-28 11:57:05.182367+00', '2026-11-28 11:57:05.259064+00');
INSERT INTO public.vmkiln_phase VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a', 3, 'CleaningUp', '2026-11-28 11:57:05.259612+00', '2026-11-28 11:57:05.261196+00');
INSERT INTO public.vmkiln_phase VALUES ('687c7705-1332-4c20-a24e-efd9edb64a6f', 0, 'Building', '2026-11-28 11:57:05.372977+00', '2026-11-28 11:57:05.435878+00');
INSERT INTO public.vmkiln_phase VALUES ('687c7705-1332-4c20-a24e-efd9edb64a6f', 1, 'Customizing', '2026-11-28 11:57:05.436331+00', '2026-11-28 11:57:05.44153+00');
INSERT INTO public.vmkiln_phase VALUES ('687c7705-1332-4c20-a24e-efd9edb64a6f', 2, 'CleaningUp', '2026-11-28 11:57:05.441933+00', '2026-11-28 11:57:05.442997+00');
INSERT INTO public.vmkiln_phase VALUES ('d2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 0, 'Building', '2026-11-28 11:57:05.507238+00', '2026-11-28 11:57:05.572657+00');
INSERT INTO public.vmkiln_phase VALUES ('d2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 1, 'Customizing', '2026-11-28 11:57:05.573102+00', NULL);
INSERT INTO public.vmkiln_principal VALUES ('ea550ef7-0b68-47b0-9273-959524a417d3', '944eed1f-1b5a-4ae9-b50d-832371db89a3', 'owner', '2026-11-28 11:56:54.0038+00', false);
INSERT INTO public.vmkiln_principal VALUES ('b2c3f124-c037-4caf-a12e-2ad280293d9c', '4324c861-88b3-4e06-a051-62e6a4e05edb', 'auditor', '2026-11-28 11:56:58.360843+00', false);
INSERT INTO public.vmkiln_reservation VALUES ('d2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 1, '81f77620-9b8f-4006-a851-3c83b58c05fa', 2, 4224, 4096, 1795867025.488703);
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1', 'microsoft.resources/resourcegroups', 'rg1', '', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{"made": "long ago"}', NULL, '{"provisioningState": "Succeeded"}', '{"type": "Microsoft.Resources/resourceGroups", "resource_group": "rg1"}', '99a8e02f-efae-45e2-8902-e2b99dfa3e79', '2026-11-28 11:56:54.544522+00', '2026-11-28 11:56:54.544522+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.managedidentity/userassignedidentities/builder', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder', 'microsoft.managedidentity/userassignedidentities', 'builder', '', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{}', NULL, '{"principalId": "e4fb181a-44a9-4383-b04b-ca2c07629ffb", "clientId": "cb6673b6-8d18-4ab8-8444-92487ebdaf0d", "tenantId": "c4d74aec-b7f8-468b-b8dc-1b5c577170d3", "provisioningState": "Succeeded"}', '{"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "resource_group": "rg1"}', '7fd0caf7-a0a3-4126-9731-0362e19244e9', '2026-11-28 11:56:54.596037+00', '2026-11-28 11:56:54.596037+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g', 'microsoft.compute/galleries', 'g', '', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{}', NULL, '{"identifier": {"uniqueName": "00000000-0000-0000-0000-000000000000-G"}, "provisioningState": "Succeeded"}', '{"type": "Microsoft.Compute/galleries", "resource_group": "rg1"}', '59501ed0-4419-4ff6-bb2f-d6fd6af9b296', '2026-11-28 11:56:54.63705+00', '2026-11-28 11:56:54.63705+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g/images/d', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d', 'microsoft.compute/galleries/images', 'd', '/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{}', NULL, '{"hyperVGeneration": "V1", "architecture": "x64", "osType": "Linux", "osState": "Generalized", "identifier": {"publisher": "p", "offer": "o", "sku": "s"}, "provisioningState": "Succeeded"}', '{"type": "Microsoft.Compute/galleries/images", "resource_group": "rg1"}', '38cbeb0f-5a92-4eb9-acb6-91f6b7dab328', '2026-11-28 11:56:54.693315+00', '2026-11-28 11:56:54.693315+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.network/virtualnetworks/v', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Network/virtualNetworks/v', 'microsoft.network/virtualnetworks', 'v', '', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{}', NULL, '{"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": [{"name": "s", "properties": {"addressPrefix": "10.9.1.0/24"}}], "provisioningState": "Succeeded"}', '{"type": "Microsoft.Network/virtualNetworks", "resource_group": "rg1"}', 'a7de57ce-85f4-4ded-bfe5-fa59ed8d45a6', '2026-11-28 11:56:54.704936+00', '2026-11-28 11:56:54.704936+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/it_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', 'microsoft.resources/resourcegroups', 'IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', '', '00000000-0000-0000-0000-000000000000', 'it_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', 'westus2', '{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "web", "imageTemplateResourceGroupName": "rg1"}', NULL, '{"provisioningState": "Succeeded", "managedBy": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/web"}', '{"staging_group": "IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3", "type": "Microsoft.Resources/resourceGroups", "resource_group": "IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3"}', 'b6c09c4e-4fc6-4fae-af54-215ae1af26a2', '2026-11-28 11:57:04.194491+00', '2026-11-28 11:57:04.194491+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/web', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/web', 'microsoft.virtualmachineimages/imagetemplates', 'web', '', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{"team": "web"}', '{"type": "None", "userAssignedIdentities": {}}', '{"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["publish"], "type": "Shell"}], "distribute": [{"runOutputName": "web", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/web", "location": "westus2"}, {"runOutputName": "version", "type": "SharedImage", "galleryImageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d", "replicationRegions": ["westus2"]}, {"runOutputName": "vhd", "type": "VHD"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3"}', '{"api_version": "2024-02-01", "staging_group": "IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3", "staging_group_id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3", "staging_tags": {"createdBy": "AzureVMImageBuilder", "imageTemplateName": "web", "imageTemplateResourceGroupName": "rg1"}, "is_own_group": true, "copies": {}, "type": "Microsoft.VirtualMachineImages/imageTemplates", "resource_group": "rg1"}', '363b8d0d-531a-4905-99a9-7282ba73aec7', '2026-11-28 11:57:04.188953+00', '2026-11-28 11:57:04.214881+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/it_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', 'microsoft.resources/resourcegroups', 'IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '', '00000000-0000-0000-0000-000000000000', 'it_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', 'westus2', '{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "broken", "imageTemplateResourceGroupName": "rg1"}', NULL, '{"provisioningState": "Succeeded", "managedBy": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/broken"}', '{"staging_group": "IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2", "type": "Microsoft.Resources/resourceGroups", "resource_group": "IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2"}', '96cfd660-8263-4a55-9682-7faa5ea67b49', '2026-11-28 11:57:04.225352+00', '2026-11-28 11:57:04.225352+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/going', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/going', 'microsoft.virtualmachineimages/imagetemplates', 'going', '', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{"team": "web"}', '{"type": "None", "userAssignedIdentities": {}}', '{"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["wait"], "type": "Shell"}], "distribute": [{"runOutputName": "going", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/going", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808"}', '{"api_version": "2024-02-01", "staging_group": "IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808", "staging_group_id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808", "staging_tags": {"createdBy": "AzureVMImageBuilder", "imageTemplateName": "going", "imageTemplateResourceGroupName": "rg1"}, "is_own_group": true, "copies": {}, "type": "Microsoft.VirtualMachineImages/imageTemplates", "resource_group": "rg1"}', '772a4eae-1160-4766-bdbb-122105e749cc', '2026-11-28 11:57:04.234982+00', '2026-11-28 11:57:04.266864+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/it_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', 'microsoft.resources/resourcegroups', 'IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', '', '00000000-0000-0000-0000-000000000000', 'it_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', 'westus2', '{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "going", "imageTemplateResourceGroupName": "rg1"}', NULL, '{"provisioningState": "Succeeded", "managedBy": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/going"}', '{"staging_group": "IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808", "type": "Microsoft.Resources/resourceGroups", "resource_group": "IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808"}', '16720876-6863-437c-9b0d-6192507c5738', '2026-11-28 11:57:04.249664+00', '2026-11-28 11:57:04.249664+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/broken', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/broken', 'microsoft.virtualmachineimages/imagetemplates', 'broken', '', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{"team": "web"}', '{"type": "None", "userAssignedIdentities": {}}', '{"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["fail"], "type": "Shell"}], "distribute": [{"runOutputName": "broken", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/broken", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2"}', '{"api_version": "2024-02-01", "staging_group": "IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2", "staging_group_id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2", "staging_tags": {"createdBy": "AzureVMImageBuilder", "imageTemplateName": "broken", "imageTemplateResourceGroupName": "rg1"}, "is_own_group": true, "copies": {}, "type": "Microsoft.VirtualMachineImages/imageTemplates", "resource_group": "rg1"}', '957b6794-b5f6-4483-9519-bb4433673fba', '2026-11-28 11:57:04.217171+00', '2026-11-28 11:57:04.258901+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/it_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727', 'microsoft.resources/resourcegroups', 'IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727', '', '00000000-0000-0000-0000-000000000000', 'it_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727', 'westus2', '{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "secure", "imageTemplateResourceGroupName": "rg1"}', NULL, '{"provisioningState": "Succeeded", "managedBy": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure"}', '{"staging_group": "IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727", "type": "Microsoft.Resources/resourceGroups", "resource_group": "IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727"}', '8619f1e0-1dc5-4d01-8af6-438b525a64d5', '2026-11-28 11:57:04.296319+00', '2026-11-28 11:57:04.296319+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.resources/deployments/d', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Resources/deployments/d', 'microsoft.resources/deployments', 'd', '', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{}', NULL, '{"templateHash": "10186884187132241079", "parameters": {"password": {"type": "SecureString"}, "scriptUri": {"type": "SecureString"}}, "mode": "Incremental", "correlationId": "98edc206-c43b-44dd-9383-c5439b0bba39", "providers": [{"namespace": "Microsoft.VirtualMachineImages", "resourceTypes": [{"resourceType": "imageTemplates"}]}], "dependencies": [], "provisioningState": "Succeeded", "timestamp": "2026-11-28T11:57:04.543816Z", "duration": "PT0.274473S", "outputs": {}, "outputResources": [{"id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure"}]}', '{"operation_id": "f9805972-e612-41c0-b380-1a5457e35ba2", "operations": [{"id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Resources/deployments/d/operations/719DC1F165DA9A3B", "operationId": "719DC1F165DA9A3B", "properties": {"provisioningOperation": "Create", "provisioningState": "Succeeded", "timestamp": "2026-11-28T11:57:04.541895Z", "duration": "PT0.267259S", "statusCode": "OK", "targetResource": {"id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure", "resourceType": "Microsoft.VirtualMachineImages/imageTemplates", "resourceName": "secure"}}}], "type": "Microsoft.Resources/deployments", "resource_group": "rg1"}', '78b6b6e9-f233-48ca-ba41-8b0cdf80ee94', '2026-11-28 11:57:04.270641+00', '2026-11-28 11:57:04.544516+00', 'owner', 'owner');
INSERT INTO public.vmkiln_resource VALUES ('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/secure', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure', 'microsoft.virtualmachineimages/imagetemplates', 'secure', '', '00000000-0000-0000-0000-000000000000', 'rg1', 'westus2', '{"team": "web"}', '{"type": "None", "userAssignedIdentities": {}}', '{"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "secret", "inline": ["printf correct horse battery staple"], "type": "Shell"}, {"name": "script", "scriptUri": "http://127.0.0.1:35209/scripts/first.sh?sv=2024-11-04&sr=b&sp=r&se=2030-01-01T00%3A00%3A00Z&sig=b2xkIHNpZ25hdHVyZQ%3D%3D", "type": "Shell"}], "distribute": [{"runOutputName": "secure", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/secure", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727"}', '{"api_version": "2024-02-01", "staging_group": "IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727", "staging_group_id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727", "staging_tags": {"createdBy": "AzureVMImageBuilder", "imageTemplateName": "secure", "imageTemplateResourceGroupName": "rg1"}, "is_own_group": true, "copies": {"properties.customize[1].scriptUri": "scripts/0000-first.sh"}, "type": "Microsoft.VirtualMachineImages/imageTemplates", "resource_group": "rg1"}', 'dc917cdc-b939-4cb6-845e-9e6c2d92cdaf', '2026-11-28 11:57:04.287457+00', '2026-11-28 11:57:04.490251+00', 'owner', 'owner');
INSERT INTO public.vmkiln_revision VALUES ('0005');
INSERT INTO public.vmkiln_role_assignment VALUES ('091d448a-0f18-42af-a74e-c08927f4f482', '944eed1f-1b5a-4ae9-b50d-832371db89a3', 'Owner', '/', '2026-11-28 11:56:54.141343+00');
INSERT INTO public.vmkiln_role_assignment VALUES ('424d1439-b572-4437-9ea4-3dc35d277276', '4324c861-88b3-4e06-a051-62e6a4e05edb', 'Reader', '/subscriptions/00000000-0000-0000-0000-000000000000', '2026-11-28 11:57:01.145305+00');
INSERT INTO public.vmkiln_run VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'web', 'rg1', '{"location": "westus2", "tags": {"team": "web"}, "properties": {"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["publish"], "type": "Shell"}], "distribute": [{"runOutputName": "web", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/web", "location": "westus2"}, {"runOutputName": "version", "type": "SharedImage", "galleryImageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d", "replicationRegions": ["westus2"]}, {"runOutputName": "vhd", "type": "VHD"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3"}, "identity": {"type": "None", "userAssignedIdentities": {}}}', 'Succeeded', '', '', '', 'IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', '{"reason": "request", "isolation_level": "emulated", "accelerator": "tcg", "accelerator_reason": "a stand-in", "packer_version": "1.6.6", "container_image": "digest", "host_id": "15605465-4e8c-45ad-b3ca-acfa51be6e47", "need": {"cpus": 2, "memory_mib": 4224, "disk_mib": 4096}, "source_exact_version": "1.2.3", "storage_account": "o5k1rd1jtxr91tkuiuaf7ba3"}', '2026-11-28 11:57:05.05524+00', '2026-11-28 11:57:05.261532+00', '/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/web');
INSERT INTO public.vmkiln_run VALUES ('687c7705-1332-4c20-a24e-efd9edb64a6f', 'broken', 'rg1', '{"location": "westus2", "tags": {"team": "web"}, "properties": {"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["fail"], "type": "Shell"}], "distribute": [{"runOutputName": "broken", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/broken", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2"}, "identity": {"type": "None", "userAssignedIdentities": {}}}', 'Failed', '', 'a customizer failed: exit status 1', 'PackerBuildFailed', 'IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '{"reason": "request", "isolation_level": "emulated", "accelerator": "tcg", "accelerator_reason": "a stand-in", "packer_version": "1.6.6", "container_image": "digest", "host_id": "15605465-4e8c-45ad-b3ca-acfa51be6e47", "need": {"cpus": 2, "memory_mib": 4224, "disk_mib": 4096}, "source_exact_version": "1.2.3", "storage_account": "t25vvc8rtmid32lq9wh7oou3"}', '2026-11-28 11:57:05.370389+00', '2026-11-28 11:57:05.443322+00', '/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/broken');
INSERT INTO public.vmkiln_run VALUES ('d2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 'going', 'rg1', '{"location": "westus2", "tags": {"team": "web"}, "properties": {"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["wait"], "type": "Shell"}], "distribute": [{"runOutputName": "going", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/going", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808"}, "identity": {"type": "None", "userAssignedIdentities": {}}}', 'Running', 'Customizing', '', '', 'IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', '{"reason": "request", "isolation_level": "emulated", "accelerator": "tcg", "accelerator_reason": "a stand-in", "packer_version": "1.6.6", "container_image": "digest", "host_id": "15605465-4e8c-45ad-b3ca-acfa51be6e47", "need": {"cpus": 2, "memory_mib": 4224, "disk_mib": 4096}, "source_exact_version": "1.2.3", "storage_account": "rocie4ofyki4p6zb8p7d7gll"}', '2026-11-28 11:57:05.500863+00', NULL, '/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/going');
INSERT INTO public.vmkiln_run VALUES ('ba25f6c3-6d31-4e90-965b-ba126b95e3b6', 'secure', 'rg1', '{"properties": {"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "secret", "inline": ["printf correct horse battery staple"], "type": "Shell"}, {"name": "script", "scriptUri": "http://127.0.0.1:35209/scripts/first.sh?sv=2024-11-04&sr=b&sp=r&se=2030-01-01T00%3A00%3A00Z&sig=b2xkIHNpZ25hdHVyZQ%3D%3D", "type": "Shell"}], "distribute": [{"runOutputName": "secure", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/secure", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727"}}', 'Queued', '', '', '', 'IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727', '{"reason": "request"}', '2026-11-28 11:57:05.616619+00', NULL, '/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/secure');
INSERT INTO public.vmkiln_run_output VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'web', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/web', '', 'Succeeded', '');
INSERT INTO public.vmkiln_run_output VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'version', '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d/versions/1.0.0', '', 'Succeeded', '');
INSERT INTO public.vmkiln_run_output VALUES ('fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'vhd', '', 'staging/IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3/o5k1rd1jtxr91tkuiuaf7ba3/vhds/vhd_20261128115705.vhd', 'Succeeded', '');
INSERT INTO public.vmkiln_staging_group VALUES ('IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', '', 'o5k1rd1jtxr91tkuiuaf7ba3', '{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "web", "imageTemplateResourceGroupName": "rg1"}', '2026-11-28 11:57:04.200318+00', NULL);
INSERT INTO public.vmkiln_staging_group VALUES ('IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '', 't25vvc8rtmid32lq9wh7oou3', '{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "broken", "imageTemplateResourceGroupName": "rg1"}', '2026-11-28 11:57:04.231891+00', NULL);
INSERT INTO public.vmkiln_staging_group VALUES ('IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', '', 'rocie4ofyki4p6zb8p7d7gll', '{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "going", "imageTemplateResourceGroupName": "rg1"}', '2026-11-28 11:57:04.255288+00', NULL);
INSERT INTO public.vmkiln_staging_group VALUES ('IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727', '', 'mhholoz84v2hefdt44uw58sq', '{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "secure", "imageTemplateResourceGroupName": "rg1"}', '2026-11-28 11:57:04.301468+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (1, 'IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', '', 'Microsoft.Storage/storageAccounts', 'o5k1rd1jtxr91tkuiuaf7ba3', 'exists', '{}', '2026-11-28 11:57:04.201761+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (2, 'IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '', 'Microsoft.Storage/storageAccounts', 't25vvc8rtmid32lq9wh7oou3', 'exists', '{}', '2026-11-28 11:57:04.233818+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (3, 'IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', '', 'Microsoft.Storage/storageAccounts', 'rocie4ofyki4p6zb8p7d7gll', 'exists', '{}', '2026-11-28 11:57:04.256995+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (4, 'IT_rg1_secure_d73740ef-1bf6-532d-a471-3bd64deae727', '', 'Microsoft.Storage/storageAccounts', 'mhholoz84v2hefdt44uw58sq', 'exists', '{}', '2026-11-28 11:57:04.302332+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (10, 'IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'Microsoft.ContainerInstance/containerGroups', 'vmimagebuilder-build-container-fcf75d37-0', 'deleted', '{"containers": ["packer"], "memoryMiB": 384}', '2026-11-28 11:57:05.12159+00', '2026-11-28 11:57:05.126258+00');
INSERT INTO public.vmkiln_staging_resource VALUES (9, 'IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'Microsoft.Compute/virtualMachines', 'build-vm', 'deleted', '{"vmSize": "Standard_D1_v2"}', '2026-11-28 11:57:05.120407+00', '2026-11-28 11:57:05.127379+00');
INSERT INTO public.vmkiln_staging_resource VALUES (8, 'IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'Microsoft.Network/networkInterfaces', 'build-vm-nic', 'deleted', '{"address": "10.0.1.4", "mac": "02:00:00:00:00:01"}', '2026-11-28 11:57:05.119069+00', '2026-11-28 11:57:05.128022+00');
INSERT INTO public.vmkiln_staging_resource VALUES (7, 'IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'Microsoft.Compute/disks', 'build-vm-os-disk', 'deleted', '{}', '2026-11-28 11:57:05.117736+00', '2026-11-28 11:57:05.128575+00');
INSERT INTO public.vmkiln_staging_resource VALUES (6, 'IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'Microsoft.Network/networkSecurityGroups', 'nsg', 'deleted', '{}', '2026-11-28 11:57:05.116443+00', '2026-11-28 11:57:05.129125+00');
INSERT INTO public.vmkiln_staging_resource VALUES (5, 'IT_rg1_web_3cb02589-3c90-55b1-8e19-3305d64aabd3', 'fcf75d37-07c9-4cb4-8336-aa20929aea2a', 'Microsoft.Network/virtualNetworks', 'vnet', 'deleted', '{"subnets": {"container-group": "10.0.0.0/24", "build-vm": "10.0.1.0/24"}}', '2026-11-28 11:57:05.114769+00', '2026-11-28 11:57:05.129727+00');
INSERT INTO public.vmkiln_staging_resource VALUES (16, 'IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '687c7705-1332-4c20-a24e-efd9edb64a6f', 'Microsoft.ContainerInstance/containerGroups', 'vmimagebuilder-build-container-687c7705-1', 'deleted', '{"containers": ["packer"], "memoryMiB": 384}', '2026-11-28 11:57:05.433385+00', '2026-11-28 11:57:05.437293+00');
INSERT INTO public.vmkiln_staging_resource VALUES (15, 'IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '687c7705-1332-4c20-a24e-efd9edb64a6f', 'Microsoft.Compute/virtualMachines', 'build-vm', 'deleted', '{"vmSize": "Standard_D1_v2"}', '2026-11-28 11:57:05.432186+00', '2026-11-28 11:57:05.437883+00');
INSERT INTO public.vmkiln_staging_resource VALUES (14, 'IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '687c7705-1332-4c20-a24e-efd9edb64a6f', 'Microsoft.Network/networkInterfaces', 'build-vm-nic', 'deleted', '{"address": "10.0.1.4", "mac": "02:00:00:00:00:01"}', '2026-11-28 11:57:05.431053+00', '2026-11-28 11:57:05.438385+00');
INSERT INTO public.vmkiln_staging_resource VALUES (11, 'IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '687c7705-1332-4c20-a24e-efd9edb64a6f', 'Microsoft.Network/virtualNetworks', 'vnet', 'deleted', '{"subnets": {"container-group": "10.0.0.0/24", "build-vm": "10.0.1.0/24"}}', '2026-11-28 11:57:05.426483+00', '2026-11-28 11:57:05.440791+00');
INSERT INTO public.vmkiln_staging_resource VALUES (18, 'IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', 'd2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 'Microsoft.Network/networkSecurityGroups', 'nsg', 'exists', '{}', '2026-11-28 11:57:05.566277+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (21, 'IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', 'd2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 'Microsoft.Compute/virtualMachines', 'build-vm', 'exists', '{"vmSize": "Standard_D1_v2"}', '2026-11-28 11:57:05.569538+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (13, 'IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '687c7705-1332-4c20-a24e-efd9edb64a6f', 'Microsoft.Compute/disks', 'build-vm-os-disk', 'deleted', '{}', '2026-11-28 11:57:05.429873+00', '2026-11-28 11:57:05.439467+00');
INSERT INTO public.vmkiln_staging_resource VALUES (17, 'IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', 'd2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 'Microsoft.Network/virtualNetworks', 'vnet', 'exists', '{"subnets": {"container-group": "10.0.0.0/24", "build-vm": "10.0.1.0/24"}}', '2026-11-28 11:57:05.564677+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (20, 'IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', 'd2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 'Microsoft.Network/networkInterfaces', 'build-vm-nic', 'exists', '{"address": "10.0.1.4", "mac": "02:00:00:00:00:01"}', '2026-11-28 11:57:05.568476+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (12, 'IT_rg1_broken_fc99a7d2-4fe2-5519-946e-edf64e4ca4a2', '687c7705-1332-4c20-a24e-efd9edb64a6f', 'Microsoft.Network/networkSecurityGroups', 'nsg', 'deleted', '{}', '2026-11-28 11:57:05.428486+00', '2026-11-28 11:57:05.440241+00');
INSERT INTO public.vmkiln_staging_resource VALUES (19, 'IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', 'd2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 'Microsoft.Compute/disks', 'build-vm-os-disk', 'exists', '{}', '2026-11-28 11:57:05.567422+00', NULL);
INSERT INTO public.vmkiln_staging_resource VALUES (22, 'IT_rg1_going_739333f8-8bf6-5b16-9252-35d2a96cf808', 'd2e1ab30-a4dc-47b5-8cf5-371da61e9bfb', 'Microsoft.ContainerInstance/containerGroups', 'vmimagebuilder-build-container-d2e1ab30-a', 'exists', '{"containers": ["packer"], "memoryMiB": 384}', '2026-11-28 11:57:05.570497+00', NULL);
SELECT pg_catalog.setval('public.vmkiln_staging_resource_number_seq', 22, true);
ALTER TABLE ONLY dbos.application_versions
    ADD CONSTRAINT application_versions_pkey PRIMARY KEY (version_id);
ALTER TABLE ONLY dbos.application_versions
    ADD CONSTRAINT application_versions_version_name_key UNIQUE (version_name);
ALTER TABLE ONLY dbos.dbos_migrations
    ADD CONSTRAINT dbos_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY dbos.event_dispatch_kv
    ADD CONSTRAINT event_dispatch_kv_pkey PRIMARY KEY (service_name, workflow_fn_name, key);
ALTER TABLE ONLY dbos.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (message_uuid);
ALTER TABLE ONLY dbos.operation_outputs
    ADD CONSTRAINT operation_outputs_pkey PRIMARY KEY (workflow_uuid, function_id);
ALTER TABLE ONLY dbos.queues
    ADD CONSTRAINT queues_name_key UNIQUE (name);
ALTER TABLE ONLY dbos.queues
    ADD CONSTRAINT queues_pkey PRIMARY KEY (queue_id);
ALTER TABLE ONLY dbos.streams
    ADD CONSTRAINT streams_pkey PRIMARY KEY (workflow_uuid, key, "offset");
ALTER TABLE ONLY dbos.workflow_events_history
    ADD CONSTRAINT workflow_events_history_pkey PRIMARY KEY (workflow_uuid, function_id, key);
ALTER TABLE ONLY dbos.workflow_events
    ADD CONSTRAINT workflow_events_pkey PRIMARY KEY (workflow_uuid, key);
ALTER TABLE ONLY dbos.workflow_input
    ADD CONSTRAINT workflow_input_pkey PRIMARY KEY (workflow_uuid);
ALTER TABLE ONLY dbos.workflow_output
    ADD CONSTRAINT workflow_output_pkey PRIMARY KEY (workflow_uuid);
ALTER TABLE ONLY dbos.workflow_schedules
    ADD CONSTRAINT workflow_schedules_pkey PRIMARY KEY (schedule_id);
ALTER TABLE ONLY dbos.workflow_schedules
    ADD CONSTRAINT workflow_schedules_schedule_name_key UNIQUE (schedule_name);
ALTER TABLE ONLY dbos.workflow_status
    ADD CONSTRAINT workflow_status_pkey PRIMARY KEY (workflow_uuid);
ALTER TABLE ONLY public.vmkiln_access_token
    ADD CONSTRAINT vmkiln_access_token_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY public.vmkiln_client_secret
    ADD CONSTRAINT vmkiln_client_secret_pkey PRIMARY KEY (secret_id);
ALTER TABLE ONLY public.vmkiln_host
    ADD CONSTRAINT vmkiln_host_pkey PRIMARY KEY (boot);
ALTER TABLE ONLY public.vmkiln_image_definition
    ADD CONSTRAINT vmkiln_image_definition_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.vmkiln_image
    ADD CONSTRAINT vmkiln_image_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.vmkiln_operation
    ADD CONSTRAINT vmkiln_operation_pkey PRIMARY KEY (operation_id);
ALTER TABLE ONLY public.vmkiln_phase
    ADD CONSTRAINT vmkiln_phase_pkey PRIMARY KEY (run_id, number);
ALTER TABLE ONLY public.vmkiln_principal
    ADD CONSTRAINT vmkiln_principal_object_id_key UNIQUE (object_id);
ALTER TABLE ONLY public.vmkiln_principal
    ADD CONSTRAINT vmkiln_principal_pkey PRIMARY KEY (app_id);
ALTER TABLE ONLY public.vmkiln_reservation
    ADD CONSTRAINT vmkiln_reservation_pkey PRIMARY KEY (run_id);
ALTER TABLE ONLY public.vmkiln_resource
    ADD CONSTRAINT vmkiln_resource_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.vmkiln_revision
    ADD CONSTRAINT vmkiln_revision_pkey PRIMARY KEY (version_num);
ALTER TABLE ONLY public.vmkiln_role_assignment
    ADD CONSTRAINT vmkiln_role_assignment_pkey PRIMARY KEY (assignment_id);
ALTER TABLE ONLY public.vmkiln_run_output
    ADD CONSTRAINT vmkiln_run_output_pkey PRIMARY KEY (run_id, name);
ALTER TABLE ONLY public.vmkiln_run
    ADD CONSTRAINT vmkiln_run_pkey PRIMARY KEY (run_id);
ALTER TABLE ONLY public.vmkiln_staging_group
    ADD CONSTRAINT vmkiln_staging_group_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.vmkiln_staging_resource
    ADD CONSTRAINT vmkiln_staging_resource_pkey PRIMARY KEY (number);
CREATE INDEX idx_application_versions_owner_timestamp ON dbos.application_versions USING btree (application_name, version_timestamp DESC);
CREATE INDEX idx_application_versions_timestamp ON dbos.application_versions USING btree (version_timestamp DESC);
CREATE INDEX idx_operation_outputs_completed_at_function_name_v2 ON dbos.operation_outputs USING btree (completed_at_epoch_ms, function_name) INCLUDE (application_name);
CREATE INDEX idx_operation_outputs_retention ON dbos.operation_outputs USING btree (retention_timestamp);
CREATE INDEX idx_workflow_input_retention ON dbos.workflow_input USING btree (retention_timestamp);
CREATE INDEX idx_workflow_output_retention ON dbos.workflow_output USING btree (retention_timestamp);
CREATE INDEX idx_workflow_status_attributes ON dbos.workflow_status USING gin (attributes) WHERE (attributes IS NOT NULL);
CREATE INDEX idx_workflow_status_completed_at ON dbos.workflow_status USING btree (completed_at) WHERE (completed_at IS NOT NULL);
CREATE INDEX idx_workflow_status_deadline ON dbos.workflow_status USING btree (workflow_deadline_epoch_ms) WHERE ((status = ANY (ARRAY['ENQUEUED'::text, 'PENDING'::text, 'DELAYED'::text])) AND (workflow_deadline_epoch_ms IS NOT NULL));
CREATE INDEX idx_workflow_status_delayed ON dbos.workflow_status USING btree (delay_until_epoch_ms) WHERE (status = 'DELAYED'::text);
CREATE INDEX idx_workflow_status_failed ON dbos.workflow_status USING btree (status, created_at) WHERE (status = ANY (ARRAY['ERROR'::text, 'CANCELLED'::text, 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'::text]));
CREATE INDEX idx_workflow_status_forked_from ON dbos.workflow_status USING btree (forked_from) WHERE (forked_from IS NOT NULL);
CREATE INDEX idx_workflow_status_in_flight_v2 ON dbos.workflow_status USING btree (queue_name, status, priority, created_at) INCLUDE (application_name) WHERE (status = ANY (ARRAY['ENQUEUED'::text, 'PENDING'::text]));
CREATE INDEX idx_workflow_status_parent_workflow_id ON dbos.workflow_status USING btree (parent_workflow_id) WHERE (parent_workflow_id IS NOT NULL);
CREATE INDEX idx_workflow_status_partition_dequeue_v3 ON dbos.workflow_status USING btree (queue_name, status, queue_partition_key, priority, created_at, workflow_uuid) INCLUDE (application_name) WHERE ((status = ANY (ARRAY['ENQUEUED'::text, 'PENDING'::text])) AND (queue_partition_key IS NOT NULL));
CREATE INDEX idx_workflow_status_pending ON dbos.workflow_status USING btree (created_at) WHERE (status = 'PENDING'::text);
CREATE INDEX idx_workflow_status_rate_limited ON dbos.workflow_status USING btree (queue_name, started_at_epoch_ms) WHERE (rate_limited = true);
CREATE INDEX idx_workflow_status_schedule_name ON dbos.workflow_status USING btree (schedule_name) WHERE (schedule_name IS NOT NULL);
CREATE INDEX idx_workflow_status_started_at ON dbos.workflow_status USING btree (started_at_epoch_ms) WHERE (started_at_epoch_ms IS NOT NULL);
CREATE INDEX idx_workflow_topic ON dbos.notifications USING btree (destination_uuid, topic);
CREATE UNIQUE INDEX uq_application_versions_owner_version ON dbos.application_versions USING btree (application_name, version_name) WHERE (application_name IS NOT NULL);
CREATE UNIQUE INDEX uq_application_versions_unclaimed_version ON dbos.application_versions USING btree (version_name) WHERE (application_name IS NULL);
CREATE UNIQUE INDEX uq_workflow_status_dedup_id ON dbos.workflow_status USING btree (queue_name, deduplication_id) WHERE (deduplication_id IS NOT NULL);
CREATE INDEX workflow_status_created_at_index ON dbos.workflow_status USING btree (created_at);
CREATE INDEX ix_vmkiln_access_token_object_id ON public.vmkiln_access_token USING btree (object_id);
CREATE INDEX ix_vmkiln_client_secret_app_id ON public.vmkiln_client_secret USING btree (app_id);
CREATE INDEX ix_vmkiln_host_host_id ON public.vmkiln_host USING btree (host_id);
CREATE INDEX ix_vmkiln_operation_status ON public.vmkiln_operation USING btree (status);
CREATE INDEX ix_vmkiln_reservation_boot ON public.vmkiln_reservation USING btree (boot);
CREATE INDEX ix_vmkiln_role_assignment_object_id ON public.vmkiln_role_assignment USING btree (object_id);
CREATE INDEX ix_vmkiln_run_template_id ON public.vmkiln_run USING btree (template_id);
CREATE INDEX vmkiln_resource_by_group ON public.vmkiln_resource USING btree (subscription_id, resource_group, type, key);
CREATE INDEX vmkiln_resource_by_parent ON public.vmkiln_resource USING btree (parent, type, key);
CREATE INDEX vmkiln_resource_by_type ON public.vmkiln_resource USING btree (type, key);
CREATE INDEX vmkiln_run_by_end ON public.vmkiln_run USING btree (ended);
CREATE INDEX vmkiln_run_by_start ON public.vmkiln_run USING btree (started);
CREATE INDEX vmkiln_run_by_state ON public.vmkiln_run USING btree (state, started);
CREATE INDEX vmkiln_run_by_turn ON public.vmkiln_run USING btree (state, substr((template_id)::text, 16, 36), started, run_id);
ALTER TABLE ONLY dbos.notifications
    ADD CONSTRAINT notifications_destination_uuid_fkey FOREIGN KEY (destination_uuid) REFERENCES dbos.workflow_status(workflow_uuid) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE ONLY dbos.streams
    ADD CONSTRAINT streams_workflow_uuid_fkey FOREIGN KEY (workflow_uuid) REFERENCES dbos.workflow_status(workflow_uuid) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE ONLY dbos.workflow_events_history
    ADD CONSTRAINT workflow_events_history_workflow_uuid_fkey FOREIGN KEY (workflow_uuid) REFERENCES dbos.workflow_status(workflow_uuid) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE ONLY dbos.workflow_events
    ADD CONSTRAINT workflow_events_workflow_uuid_fkey FOREIGN KEY (workflow_uuid) REFERENCES dbos.workflow_status(workflow_uuid) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE ONLY public.vmkiln_client_secret
    ADD CONSTRAINT vmkiln_client_secret_app_id_fkey FOREIGN KEY (app_id) REFERENCES public.vmkiln_principal(app_id);
ALTER TABLE ONLY public.vmkiln_phase
    ADD CONSTRAINT vmkiln_phase_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.vmkiln_run(run_id);
ALTER TABLE ONLY public.vmkiln_reservation
    ADD CONSTRAINT vmkiln_reservation_boot_fkey FOREIGN KEY (boot) REFERENCES public.vmkiln_host(boot);
ALTER TABLE ONLY public.vmkiln_reservation
    ADD CONSTRAINT vmkiln_reservation_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.vmkiln_run(run_id);
ALTER TABLE ONLY public.vmkiln_run_output
    ADD CONSTRAINT vmkiln_run_output_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.vmkiln_run(run_id);
ALTER TABLE ONLY public.vmkiln_staging_resource
    ADD CONSTRAINT vmkiln_staging_resource_group_name_fkey FOREIGN KEY (group_name) REFERENCES public.vmkiln_staging_group(name);
