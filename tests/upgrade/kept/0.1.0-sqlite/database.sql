BEGIN TRANSACTION;
CREATE TABLE vmkiln_access_token (
	hash VARCHAR(64) NOT NULL, 
	object_id VARCHAR(260) NOT NULL, 
	name VARCHAR(260) NOT NULL, 
	created DATETIME NOT NULL, 
	PRIMARY KEY (hash)
);
INSERT INTO "vmkiln_access_token" VALUES('5a9a331fb00583b34c41b9ed9e77bb67ad9973c6b3c68d21466a1a70211270ee','a3206274-40fd-40ff-8932-04e6151e8ded','kept','2026-11-28 11:56:00.951020');
CREATE TABLE vmkiln_client_secret (
	secret_id VARCHAR(36) NOT NULL, 
	app_id VARCHAR(36) NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	hash VARCHAR(128) NOT NULL, 
	created DATETIME NOT NULL, 
	PRIMARY KEY (secret_id), 
	FOREIGN KEY(app_id) REFERENCES vmkiln_principal (app_id)
);
INSERT INTO "vmkiln_client_secret" VALUES('27f1f34e-a758-4a89-82bd-abdcb66bc4ec','9836bc0f-7b5b-489c-9f77-3007af00e6f5','74bbfce8a4db4b0a316ecd3b6462de43','ad8343ff6642ab7ba9fe96bd91e2b9c28513c5f60fec08bbc16df44b8b1c3cf33071346dda05b853b424a1551732d34d057daaa34d7bedca4802e74d0b803909','2026-11-28 11:55:50.209961');
INSERT INTO "vmkiln_client_secret" VALUES('303fb996-bbb7-43da-94ab-3d1ce41178c7','bab40613-e4f6-4491-8bf5-5906e7b1c55a','5a16b155f5a88b76c8b3df5a7e02c655','d1b51280f23c29720c00b93035c8c76c2de1fc673aaa4cefd5c5967900efc302dfc501d1e44f00443ae6979bfe3e19723aa18852ba56eebf5b1b1d89afa39c84','2026-11-28 11:55:54.394608');
CREATE TABLE vmkiln_host (
	boot VARCHAR(36) NOT NULL, 
	host_id VARCHAR(36) NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	architecture VARCHAR(20) NOT NULL, 
	isolation_level VARCHAR(20) NOT NULL, 
	region VARCHAR(100) NOT NULL, 
	cpus INTEGER NOT NULL, 
	memory_mib BIGINT NOT NULL, 
	disk_mib BIGINT NOT NULL, 
	is_draining BOOLEAN NOT NULL, 
	is_dead BOOLEAN NOT NULL, 
	started FLOAT NOT NULL, 
	lease_until FLOAT NOT NULL, 
	PRIMARY KEY (boot)
);
INSERT INTO "vmkiln_host" VALUES('440da37a-223d-4231-91da-10f0a0cebd15','e460add7-7cbd-421b-868d-0a47aa34014b','vm','x64','','',2,1048576,1073741824,0,0,1.79586695031601929666e+09,1.79586705535600852962e+09);
CREATE TABLE vmkiln_image (
	"key" VARCHAR(600) NOT NULL, 
	artifact_id VARCHAR(600) NOT NULL, 
	kind VARCHAR(30) NOT NULL, 
	path TEXT NOT NULL, 
	format VARCHAR(10) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	virtual_size_bytes BIGINT NOT NULL, 
	generation INTEGER NOT NULL, 
	os_type VARCHAR(10) NOT NULL, 
	source_version VARCHAR(200) NOT NULL, 
	run_id VARCHAR(36) NOT NULL, 
	tags JSON NOT NULL, 
	detail JSON NOT NULL, 
	created DATETIME NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "vmkiln_image" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/images/web','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/web','ManagedImage','images/web-03d12ea3a36c-a605d38c-1/disk.qcow2','qcow2','fbb28595b0ea13506486c8a01275594599a854ced17b03c15147fee8935dae4a',393216,1048576,1,'Linux','1.2.3','a605d38c-cc4a-496e-8206-b4ae77da5383','{}','{"location": "westus2"}','2026-11-28 11:56:02.672269');
INSERT INTO "vmkiln_image" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g/images/d/versions/1.0.0','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d/versions/1.0.0','SharedImageVersion','images/1.0.0-b0184c383ccf-a605d38c-1/disk.qcow2','qcow2','fbb28595b0ea13506486c8a01275594599a854ced17b03c15147fee8935dae4a',393216,1048576,1,'Linux','1.2.3','a605d38c-cc4a-496e-8206-b4ae77da5383','{}','{"exclude_from_latest": false, "replication_mode": "Full", "regions": [{"name": "westus2", "replica_count": 1, "storage_account_type": "Standard_LRS"}]}','2026-11-28 11:56:02.728360');
INSERT INTO "vmkiln_image" VALUES('/staging/it_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548/vhds/vhd_20261128115602.vhd','/staging/IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548/vhds/vhd_20261128115602.vhd','VHD','staging/IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548/enh95kc7poi8ld5celdrs2ij/vhds/vhd_20261128115602.vhd','vhd','742fdba73c11dff1cfaf607c9e4dfb6a3725c912326e88044a7d8a385ebd15ea',1049088,1048576,1,'Linux','1.2.3','a605d38c-cc4a-496e-8206-b4ae77da5383','{}','{}','2026-11-28 11:56:02.776658');
CREATE TABLE vmkiln_image_definition (
	"key" VARCHAR(600) NOT NULL, 
	definition_id VARCHAR(600) NOT NULL, 
	os_type VARCHAR(10) NOT NULL, 
	generation INTEGER NOT NULL, 
	created DATETIME NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "vmkiln_image_definition" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g/images/d','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d','Linux',1,'2026-11-28 11:55:50.632566');
CREATE TABLE vmkiln_operation (
	operation_id VARCHAR(36) NOT NULL, 
	kind VARCHAR(60) NOT NULL, 
	subscription_id VARCHAR(260) NOT NULL, 
	location VARCHAR(100) NOT NULL, 
	resource_id VARCHAR(1100) NOT NULL, 
	run_id VARCHAR(36) NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	error JSON NOT NULL, 
	started DATETIME NOT NULL, 
	ended DATETIME, 
	PRIMARY KEY (operation_id)
);
INSERT INTO "vmkiln_operation" VALUES('775977ce-a716-410b-be93-0def06b8ddba','provision','00000000-0000-0000-0000-000000000000','westus2','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/web','','Succeeded','{}','2026-11-28 11:56:01.347895','2026-11-28 11:56:01.407670');
INSERT INTO "vmkiln_operation" VALUES('097dcd97-8700-4ee5-a7e1-bd1c939ded80','provision','00000000-0000-0000-0000-000000000000','westus2','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/broken','','Succeeded','{}','2026-11-28 11:56:01.355390','2026-11-28 11:56:01.422754');
INSERT INTO "vmkiln_operation" VALUES('4382286e-d6d1-4a84-81f5-52043378bf46','provision','00000000-0000-0000-0000-000000000000','westus2','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/going','','Succeeded','{}','2026-11-28 11:56:01.369328','2026-11-28 11:56:01.635797');
INSERT INTO "vmkiln_operation" VALUES('2a9dbf83-d6dd-4693-a7fa-62bf8900866d','provision','00000000-0000-0000-0000-000000000000','westus2','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure','','Succeeded','{}','2026-11-28 11:56:01.417936','2026-11-28 11:56:01.643885');
INSERT INTO "vmkiln_operation" VALUES('4d5a12f1-a26e-4c48-a2de-bab55aaf0b76','run','00000000-0000-0000-0000-000000000000','westus2','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/web','a605d38c-cc4a-496e-8206-b4ae77da5383','InProgress','{}','2026-11-28 11:56:01.749812',NULL);
INSERT INTO "vmkiln_operation" VALUES('b131785c-525c-4bd9-924c-a7cce727e47e','run','00000000-0000-0000-0000-000000000000','westus2','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/broken','c36a7091-071f-45a7-b9ef-905f1699ca30','InProgress','{}','2026-11-28 11:56:02.911498',NULL);
INSERT INTO "vmkiln_operation" VALUES('8dbb51bc-7410-4212-aadd-7e010ee2bb05','run','00000000-0000-0000-0000-000000000000','westus2','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/going','2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e','InProgress','{}','2026-11-28 11:56:03.232550',NULL);
INSERT INTO "vmkiln_operation" VALUES('a298c7cf-9b89-4cdf-8813-c5479aa5d1c5','run','00000000-0000-0000-0000-000000000000','westus2','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure','ec66977b-ae44-4322-8c68-02855fa3b183','InProgress','{}','2026-11-28 11:56:03.382245',NULL);
CREATE TABLE vmkiln_phase (
	run_id VARCHAR(36) NOT NULL, 
	number INTEGER NOT NULL, 
	name VARCHAR(40) NOT NULL, 
	started DATETIME NOT NULL, 
	ended DATETIME, 
	PRIMARY KEY (run_id, number), 
	FOREIGN KEY(run_id) REFERENCES vmkiln_run (run_id)
);
INSERT INTO "vmkiln_phase" VALUES('a605d38c-cc4a-496e-8206-b4ae77da5383',0,'Building','2026-11-28 11:56:02.274396','2026-11-28 11:56:02.430159');
INSERT INTO "vmkiln_phase" VALUES('a605d38c-cc4a-496e-8206-b4ae77da5383',1,'Customizing','2026-11-28 11:56:02.430746','2026-11-28 11:56:02.538843');
INSERT INTO "vmkiln_phase" VALUES('a605d38c-cc4a-496e-8206-b4ae77da5383',2,'Distributing','2026-11-28 11:56:02.539152','2026-11-28 11:56:02.844774');
INSERT INTO "vmkiln_phase" VALUES('a605d38c-cc4a-496e-8206-b4ae77da5383',3,'CleaningUp','2026-11-28 11:56:02.844955','2026-11-28 11:56:02.852235');
INSERT INTO "vmkiln_phase" VALUES('c36a7091-071f-45a7-b9ef-905f1699ca30',0,'Building','2026-11-28 11:56:02.964551','2026-11-28 11:56:03.138490');
INSERT INTO "vmkiln_phase" VALUES('c36a7091-071f-45a7-b9ef-905f1699ca30',1,'Customizing','2026-11-28 11:56:03.138699','2026-11-28 11:56:03.170748');
INSERT INTO "vmkiln_phase" VALUES('c36a7091-071f-45a7-b9ef-905f1699ca30',2,'CleaningUp','2026-11-28 11:56:03.170988','2026-11-28 11:56:03.178691');
INSERT INTO "vmkiln_phase" VALUES('2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e',0,'Building','2026-11-28 11:56:03.275211','2026-11-28 11:56:03.364882');
INSERT INTO "vmkiln_phase" VALUES('2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e',1,'Customizing','2026-11-28 11:56:03.365036',NULL);
CREATE TABLE vmkiln_principal (
	app_id VARCHAR(36) NOT NULL, 
	object_id VARCHAR(36) NOT NULL, 
	display_name VARCHAR(260) NOT NULL, 
	created DATETIME NOT NULL, 
	is_disabled BOOLEAN NOT NULL, 
	PRIMARY KEY (app_id), 
	UNIQUE (object_id)
);
INSERT INTO "vmkiln_principal" VALUES('9836bc0f-7b5b-489c-9f77-3007af00e6f5','5c72d1e2-905c-4159-b315-a6990cfdd55b','owner','2026-11-28 11:55:50.160853',0);
INSERT INTO "vmkiln_principal" VALUES('bab40613-e4f6-4491-8bf5-5906e7b1c55a','a3206274-40fd-40ff-8932-04e6151e8ded','auditor','2026-11-28 11:55:54.315314',0);
CREATE TABLE vmkiln_reservation (
	run_id VARCHAR(36) NOT NULL, 
	attempt INTEGER NOT NULL, 
	boot VARCHAR(36) NOT NULL, 
	cpus INTEGER NOT NULL, 
	memory_mib BIGINT NOT NULL, 
	disk_mib BIGINT NOT NULL, 
	placed FLOAT NOT NULL, 
	PRIMARY KEY (run_id), 
	FOREIGN KEY(run_id) REFERENCES vmkiln_run (run_id), 
	FOREIGN KEY(boot) REFERENCES vmkiln_host (boot)
);
INSERT INTO "vmkiln_reservation" VALUES('2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e',1,'440da37a-223d-4231-91da-10f0a0cebd15',2,4224,4096,1.79586696324300622937e+09);
CREATE TABLE vmkiln_resource (
	"key" VARCHAR(1100) NOT NULL, 
	id VARCHAR(1100) NOT NULL, 
	type VARCHAR(200) NOT NULL, 
	name VARCHAR(260) NOT NULL, 
	parent VARCHAR(1100) NOT NULL, 
	subscription_id VARCHAR(260) NOT NULL, 
	resource_group VARCHAR(260) NOT NULL, 
	location VARCHAR(100) NOT NULL, 
	tags JSON NOT NULL, 
	identity JSON, 
	properties JSON NOT NULL, 
	state JSON NOT NULL, 
	etag VARCHAR(36) NOT NULL, 
	created DATETIME NOT NULL, 
	changed DATETIME NOT NULL, 
	created_by VARCHAR(260) NOT NULL, 
	changed_by VARCHAR(260) NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1','microsoft.resources/resourcegroups','rg1','','00000000-0000-0000-0000-000000000000','rg1','westus2','{"made": "long ago"}',NULL,'{"provisioningState": "Succeeded"}','{"type": "Microsoft.Resources/resourceGroups", "resource_group": "rg1"}','a980daac-9182-46ce-b416-e1de8fa0d9a2','2026-11-28 11:55:50.618101','2026-11-28 11:55:50.618101','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.managedidentity/userassignedidentities/builder','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder','microsoft.managedidentity/userassignedidentities','builder','','00000000-0000-0000-0000-000000000000','rg1','westus2','{}',NULL,'{"principalId": "7a770952-a350-4924-9caf-f99cf0b381ab", "clientId": "9e87a790-6d87-4406-8e5b-c77848adf14d", "tenantId": "4a617784-88e0-4dd9-adc9-cb1131c5a2c0", "provisioningState": "Succeeded"}','{"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "resource_group": "rg1"}','aab9b476-8d93-4c80-bd80-ed03de0d9b7b','2026-11-28 11:55:50.623104','2026-11-28 11:55:50.623104','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g','microsoft.compute/galleries','g','','00000000-0000-0000-0000-000000000000','rg1','westus2','{}',NULL,'{"identifier": {"uniqueName": "00000000-0000-0000-0000-000000000000-G"}, "provisioningState": "Succeeded"}','{"type": "Microsoft.Compute/galleries", "resource_group": "rg1"}','25c2735b-be1f-4e64-8e8f-32fb556fa31a','2026-11-28 11:55:50.627158','2026-11-28 11:55:50.627158','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g/images/d','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d','microsoft.compute/galleries/images','d','/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.compute/galleries/g','00000000-0000-0000-0000-000000000000','rg1','westus2','{}',NULL,'{"hyperVGeneration": "V1", "architecture": "x64", "osType": "Linux", "osState": "Generalized", "identifier": {"publisher": "p", "offer": "o", "sku": "s"}, "provisioningState": "Succeeded"}','{"type": "Microsoft.Compute/galleries/images", "resource_group": "rg1"}','cda8735d-d7fd-43a3-bec3-24131a89e497','2026-11-28 11:55:50.633448','2026-11-28 11:55:50.633448','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.network/virtualnetworks/v','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Network/virtualNetworks/v','microsoft.network/virtualnetworks','v','','00000000-0000-0000-0000-000000000000','rg1','westus2','{}',NULL,'{"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": [{"name": "s", "properties": {"addressPrefix": "10.9.1.0/24"}}], "provisioningState": "Succeeded"}','{"type": "Microsoft.Network/virtualNetworks", "resource_group": "rg1"}','bf9c5eb0-2f86-40cc-989d-b4bc012efa0c','2026-11-28 11:55:50.637211','2026-11-28 11:55:50.637211','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/web','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/web','microsoft.virtualmachineimages/imagetemplates','web','','00000000-0000-0000-0000-000000000000','rg1','westus2','{"team": "web"}','{"type": "None", "userAssignedIdentities": {}}','{"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["publish"], "type": "Shell"}], "distribute": [{"runOutputName": "web", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/web", "location": "westus2"}, {"runOutputName": "version", "type": "SharedImage", "galleryImageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d", "replicationRegions": ["westus2"]}, {"runOutputName": "vhd", "type": "VHD"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548"}','{"api_version": "2024-02-01", "staging_group": "IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548", "staging_group_id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548", "staging_tags": {"createdBy": "AzureVMImageBuilder", "imageTemplateName": "web", "imageTemplateResourceGroupName": "rg1"}, "is_own_group": true, "copies": {}, "type": "Microsoft.VirtualMachineImages/imageTemplates", "resource_group": "rg1"}','589a1a24-dbd9-4d63-8734-ce0952198046','2026-11-28 11:56:01.346761','2026-11-28 11:56:01.405230','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/broken','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/broken','microsoft.virtualmachineimages/imagetemplates','broken','','00000000-0000-0000-0000-000000000000','rg1','westus2','{"team": "web"}','{"type": "None", "userAssignedIdentities": {}}','{"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["fail"], "type": "Shell"}], "distribute": [{"runOutputName": "broken", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/broken", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e"}','{"api_version": "2024-02-01", "staging_group": "IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e", "staging_group_id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e", "staging_tags": {"createdBy": "AzureVMImageBuilder", "imageTemplateName": "broken", "imageTemplateResourceGroupName": "rg1"}, "is_own_group": true, "copies": {}, "type": "Microsoft.VirtualMachineImages/imageTemplates", "resource_group": "rg1"}','759bcd83-a2df-40e1-b3af-0e162045c794','2026-11-28 11:56:01.354484','2026-11-28 11:56:01.442401','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/it_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','microsoft.resources/resourcegroups','IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','','00000000-0000-0000-0000-000000000000','it_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','westus2','{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "web", "imageTemplateResourceGroupName": "rg1"}',NULL,'{"provisioningState": "Succeeded", "managedBy": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/web"}','{"staging_group": "IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548", "type": "Microsoft.Resources/resourceGroups", "resource_group": "IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548"}','0d8d40f6-1e50-4903-8629-c004e2eca06e','2026-11-28 11:56:01.358964','2026-11-28 11:56:01.358964','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/going','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/going','microsoft.virtualmachineimages/imagetemplates','going','','00000000-0000-0000-0000-000000000000','rg1','westus2','{"team": "web"}','{"type": "None", "userAssignedIdentities": {}}','{"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["wait"], "type": "Shell"}], "distribute": [{"runOutputName": "going", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/going", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a"}','{"api_version": "2024-02-01", "staging_group": "IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a", "staging_group_id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a", "staging_tags": {"createdBy": "AzureVMImageBuilder", "imageTemplateName": "going", "imageTemplateResourceGroupName": "rg1"}, "is_own_group": true, "copies": {}, "type": "Microsoft.VirtualMachineImages/imageTemplates", "resource_group": "rg1"}','593b9df5-01ed-4680-9373-49f0d385414a','2026-11-28 11:56:01.364106','2026-11-28 11:56:01.633178','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/it_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','microsoft.resources/resourcegroups','IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','','00000000-0000-0000-0000-000000000000','it_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','westus2','{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "broken", "imageTemplateResourceGroupName": "rg1"}',NULL,'{"provisioningState": "Succeeded", "managedBy": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/broken"}','{"staging_group": "IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e", "type": "Microsoft.Resources/resourceGroups", "resource_group": "IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e"}','c1e0cf98-78a8-4c21-8de4-ad565d756dd3','2026-11-28 11:56:01.377981','2026-11-28 11:56:01.377981','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/it_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','microsoft.resources/resourcegroups','IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','','00000000-0000-0000-0000-000000000000','it_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','westus2','{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "going", "imageTemplateResourceGroupName": "rg1"}',NULL,'{"provisioningState": "Succeeded", "managedBy": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/going"}','{"staging_group": "IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a", "type": "Microsoft.Resources/resourceGroups", "resource_group": "IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a"}','02c11115-42fd-4c69-b792-3f403cd92043','2026-11-28 11:56:01.383449','2026-11-28 11:56:01.383449','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.resources/deployments/d','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Resources/deployments/d','microsoft.resources/deployments','d','','00000000-0000-0000-0000-000000000000','rg1','westus2','{}',NULL,'{"templateHash": "10186884187132241079", "parameters": {"password": {"type": "SecureString"}, "scriptUri": {"type": "SecureString"}}, "mode": "Incremental", "correlationId": "3510821b-fb10-47d6-89ae-b7b1a2050bff", "providers": [{"namespace": "Microsoft.VirtualMachineImages", "resourceTypes": [{"resourceType": "imageTemplates"}]}], "dependencies": [], "provisioningState": "Succeeded", "timestamp": "2026-11-28T11:56:01.661420Z", "duration": "PT0.272992S", "outputs": {}, "outputResources": [{"id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure"}]}','{"operation_id": "9c3a822c-aceb-45c6-8742-424664ab80eb", "operations": [{"id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Resources/deployments/d/operations/719DC1F165DA9A3B", "operationId": "719DC1F165DA9A3B", "properties": {"provisioningOperation": "Create", "provisioningState": "Succeeded", "timestamp": "2026-11-28T11:56:01.657735Z", "duration": "PT0.245261S", "statusCode": "OK", "targetResource": {"id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure", "resourceType": "Microsoft.VirtualMachineImages/imageTemplates", "resourceName": "secure"}}}], "type": "Microsoft.Resources/deployments", "resource_group": "rg1"}','7d9157a3-e715-434a-a3a7-a5642c0477b5','2026-11-28 11:56:01.408522','2026-11-28 11:56:01.661918','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/secure','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure','microsoft.virtualmachineimages/imagetemplates','secure','','00000000-0000-0000-0000-000000000000','rg1','westus2','{"team": "web"}','{"type": "None", "userAssignedIdentities": {}}','{"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "secret", "inline": ["printf correct horse battery staple"], "type": "Shell"}, {"name": "script", "scriptUri": "http://127.0.0.1:45889/scripts/first.sh?sv=2024-11-04&sr=b&sp=r&se=2030-01-01T00%3A00%3A00Z&sig=b2xkIHNpZ25hdHVyZQ%3D%3D", "type": "Shell"}], "distribute": [{"runOutputName": "secure", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/secure", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e"}','{"api_version": "2024-02-01", "staging_group": "IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e", "staging_group_id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e", "staging_tags": {"createdBy": "AzureVMImageBuilder", "imageTemplateName": "secure", "imageTemplateResourceGroupName": "rg1"}, "is_own_group": true, "copies": {"properties.customize[1].scriptUri": "scripts/0000-first.sh"}, "type": "Microsoft.VirtualMachineImages/imageTemplates", "resource_group": "rg1"}','27323cfa-917e-4b19-b1cd-2fea9ece68d2','2026-11-28 11:56:01.416246','2026-11-28 11:56:01.642065','owner','owner');
INSERT INTO "vmkiln_resource" VALUES('/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/it_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e','microsoft.resources/resourcegroups','IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e','','00000000-0000-0000-0000-000000000000','it_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e','westus2','{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "secure", "imageTemplateResourceGroupName": "rg1"}',NULL,'{"provisioningState": "Succeeded", "managedBy": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/secure"}','{"staging_group": "IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e", "type": "Microsoft.Resources/resourceGroups", "resource_group": "IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e"}','404440af-6a88-45ed-b8f5-d30a24756900','2026-11-28 11:56:01.431303','2026-11-28 11:56:01.431303','owner','owner');
CREATE TABLE vmkiln_revision (
	version_num VARCHAR(32) NOT NULL, 
	PRIMARY KEY (version_num)
);
INSERT INTO "vmkiln_revision" VALUES('0005');
CREATE TABLE vmkiln_role_assignment (
	assignment_id VARCHAR(36) NOT NULL, 
	object_id VARCHAR(260) NOT NULL, 
	role VARCHAR(20) NOT NULL, 
	scope VARCHAR(600) NOT NULL, 
	created DATETIME NOT NULL, 
	PRIMARY KEY (assignment_id)
);
INSERT INTO "vmkiln_role_assignment" VALUES('5f841f10-2385-406c-bdae-c6b8834b1386','5c72d1e2-905c-4159-b315-a6990cfdd55b','Owner','/','2026-11-28 11:55:50.212793');
INSERT INTO "vmkiln_role_assignment" VALUES('8b48990f-82f8-4ef2-9fb3-e8601c64bc1c','a3206274-40fd-40ff-8932-04e6151e8ded','Reader','/subscriptions/00000000-0000-0000-0000-000000000000','2026-11-28 11:55:58.522216');
CREATE TABLE vmkiln_run (
	run_id VARCHAR(36) NOT NULL, 
	template_name VARCHAR(64) NOT NULL, 
	resource_group VARCHAR(90) NOT NULL, 
	template JSON NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	sub_state VARCHAR(20) NOT NULL, 
	message TEXT NOT NULL, 
	error_code VARCHAR(64) NOT NULL, 
	staging_group VARCHAR(120) NOT NULL, 
	facts JSON NOT NULL, 
	started DATETIME NOT NULL, 
	ended DATETIME, 
	template_id VARCHAR(600) DEFAULT '' NOT NULL, 
	PRIMARY KEY (run_id)
);
INSERT INTO "vmkiln_run" VALUES('a605d38c-cc4a-496e-8206-b4ae77da5383','web','rg1','{"location": "westus2", "tags": {"team": "web"}, "properties": {"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["publish"], "type": "Shell"}], "distribute": [{"runOutputName": "web", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/web", "location": "westus2"}, {"runOutputName": "version", "type": "SharedImage", "galleryImageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d", "replicationRegions": ["westus2"]}, {"runOutputName": "vhd", "type": "VHD"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548"}, "identity": {"type": "None", "userAssignedIdentities": {}}}','Succeeded','','','','IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','{"reason": "request", "isolation_level": "emulated", "accelerator": "tcg", "accelerator_reason": "a stand-in", "packer_version": "1.6.6", "container_image": "digest", "host_id": "e460add7-7cbd-421b-868d-0a47aa34014b", "need": {"cpus": 2, "memory_mib": 4224, "disk_mib": 4096}, "source_exact_version": "1.2.3", "storage_account": "enh95kc7poi8ld5celdrs2ij"}','2026-11-28 11:56:02.245771','2026-11-28 11:56:02.855816','/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/web');
INSERT INTO "vmkiln_run" VALUES('c36a7091-071f-45a7-b9ef-905f1699ca30','broken','rg1','{"location": "westus2", "tags": {"team": "web"}, "properties": {"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["fail"], "type": "Shell"}], "distribute": [{"runOutputName": "broken", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/broken", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e"}, "identity": {"type": "None", "userAssignedIdentities": {}}}','Failed','','a customizer failed: exit status 1','PackerBuildFailed','IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','{"reason": "request", "isolation_level": "emulated", "accelerator": "tcg", "accelerator_reason": "a stand-in", "packer_version": "1.6.6", "container_image": "digest", "host_id": "e460add7-7cbd-421b-868d-0a47aa34014b", "need": {"cpus": 2, "memory_mib": 4224, "disk_mib": 4096}, "source_exact_version": "1.2.3", "storage_account": "yctdwubpkbi15u86lmxdt9dv"}','2026-11-28 11:56:02.961618','2026-11-28 11:56:03.181529','/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/broken');
INSERT INTO "vmkiln_run" VALUES('2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e','going','rg1','{"location": "westus2", "tags": {"team": "web"}, "properties": {"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "first", "inline": ["wait"], "type": "Shell"}], "distribute": [{"runOutputName": "going", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/going", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a"}, "identity": {"type": "None", "userAssignedIdentities": {}}}','Running','Customizing','','','IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','{"reason": "request", "isolation_level": "emulated", "accelerator": "tcg", "accelerator_reason": "a stand-in", "packer_version": "1.6.6", "container_image": "digest", "host_id": "e460add7-7cbd-421b-868d-0a47aa34014b", "need": {"cpus": 2, "memory_mib": 4224, "disk_mib": 4096}, "source_exact_version": "1.2.3", "storage_account": "lcy6uoq0193mhfxf5eppe3pv"}','2026-11-28 11:56:03.269085',NULL,'/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/going');
INSERT INTO "vmkiln_run" VALUES('ec66977b-ae44-4322-8c68-02855fa3b183','secure','rg1','{"properties": {"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "customize": [{"name": "secret", "inline": ["printf correct horse battery staple"], "type": "Shell"}, {"name": "script", "scriptUri": "http://127.0.0.1:45889/scripts/first.sh?sv=2024-11-04&sr=b&sp=r&se=2030-01-01T00%3A00%3A00Z&sig=b2xkIHNpZ25hdHVyZQ%3D%3D", "type": "Shell"}], "distribute": [{"runOutputName": "secure", "type": "ManagedImage", "imageId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/secure", "location": "westus2"}], "provisioningState": "Succeeded", "exactStagingResourceGroup": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e"}}','Queued','','','','IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e','{"reason": "request"}','2026-11-28 11:56:03.380892',NULL,'/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/microsoft.virtualmachineimages/imagetemplates/secure');
CREATE TABLE vmkiln_run_output (
	run_id VARCHAR(36) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	artifact_id VARCHAR(600) NOT NULL, 
	artifact_uri TEXT NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	message TEXT NOT NULL, 
	PRIMARY KEY (run_id, name), 
	FOREIGN KEY(run_id) REFERENCES vmkiln_run (run_id)
);
INSERT INTO "vmkiln_run_output" VALUES('a605d38c-cc4a-496e-8206-b4ae77da5383','web','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/images/web','','Succeeded','');
INSERT INTO "vmkiln_run_output" VALUES('a605d38c-cc4a-496e-8206-b4ae77da5383','version','/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d/versions/1.0.0','','Succeeded','');
INSERT INTO "vmkiln_run_output" VALUES('a605d38c-cc4a-496e-8206-b4ae77da5383','vhd','','staging/IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548/enh95kc7poi8ld5celdrs2ij/vhds/vhd_20261128115602.vhd','Succeeded','');
CREATE TABLE vmkiln_staging_group (
	name VARCHAR(120) NOT NULL, 
	run_id VARCHAR(36) NOT NULL, 
	storage_account VARCHAR(24) NOT NULL, 
	tags JSON NOT NULL, 
	created DATETIME NOT NULL, 
	deleted DATETIME, 
	PRIMARY KEY (name)
);
INSERT INTO "vmkiln_staging_group" VALUES('IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','','enh95kc7poi8ld5celdrs2ij','{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "web", "imageTemplateResourceGroupName": "rg1"}','2026-11-28 11:56:01.373400',NULL);
INSERT INTO "vmkiln_staging_group" VALUES('IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','','yctdwubpkbi15u86lmxdt9dv','{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "broken", "imageTemplateResourceGroupName": "rg1"}','2026-11-28 11:56:01.401681',NULL);
INSERT INTO "vmkiln_staging_group" VALUES('IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e','','ic7bn5bvp3cw7apcj998ttsz','{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "secure", "imageTemplateResourceGroupName": "rg1"}','2026-11-28 11:56:01.437895',NULL);
INSERT INTO "vmkiln_staging_group" VALUES('IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','','lcy6uoq0193mhfxf5eppe3pv','{"createdBy": "AzureVMImageBuilder", "imageTemplateName": "going", "imageTemplateResourceGroupName": "rg1"}','2026-11-28 11:56:01.455626',NULL);
CREATE TABLE vmkiln_staging_resource (
	number INTEGER NOT NULL, 
	group_name VARCHAR(120) NOT NULL, 
	run_id VARCHAR(36) NOT NULL, 
	type VARCHAR(80) NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	detail JSON NOT NULL, 
	created DATETIME NOT NULL, 
	deleted DATETIME, 
	PRIMARY KEY (number), 
	FOREIGN KEY(group_name) REFERENCES vmkiln_staging_group (name)
);
INSERT INTO "vmkiln_staging_resource" VALUES(1,'IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','','Microsoft.Storage/storageAccounts','enh95kc7poi8ld5celdrs2ij','exists','{}','2026-11-28 11:56:01.374594',NULL);
INSERT INTO "vmkiln_staging_resource" VALUES(2,'IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','','Microsoft.Storage/storageAccounts','yctdwubpkbi15u86lmxdt9dv','exists','{}','2026-11-28 11:56:01.402973',NULL);
INSERT INTO "vmkiln_staging_resource" VALUES(3,'IT_rg1_secure_065c1691-0f95-51e9-adec-5e5714efce2e','','Microsoft.Storage/storageAccounts','ic7bn5bvp3cw7apcj998ttsz','exists','{}','2026-11-28 11:56:01.441051',NULL);
INSERT INTO "vmkiln_staging_resource" VALUES(4,'IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','','Microsoft.Storage/storageAccounts','lcy6uoq0193mhfxf5eppe3pv','exists','{}','2026-11-28 11:56:01.457692',NULL);
INSERT INTO "vmkiln_staging_resource" VALUES(5,'IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','a605d38c-cc4a-496e-8206-b4ae77da5383','Microsoft.Network/virtualNetworks','vnet','deleted','{"subnets": {"container-group": "10.0.0.0/24", "build-vm": "10.0.1.0/24"}}','2026-11-28 11:56:02.347731','2026-11-28 11:56:02.479897');
INSERT INTO "vmkiln_staging_resource" VALUES(6,'IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','a605d38c-cc4a-496e-8206-b4ae77da5383','Microsoft.Network/networkSecurityGroups','nsg','deleted','{}','2026-11-28 11:56:02.356181','2026-11-28 11:56:02.471900');
INSERT INTO "vmkiln_staging_resource" VALUES(7,'IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','a605d38c-cc4a-496e-8206-b4ae77da5383','Microsoft.Compute/disks','build-vm-os-disk','deleted','{}','2026-11-28 11:56:02.376289','2026-11-28 11:56:02.467910');
INSERT INTO "vmkiln_staging_resource" VALUES(8,'IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','a605d38c-cc4a-496e-8206-b4ae77da5383','Microsoft.Network/networkInterfaces','build-vm-nic','deleted','{"address": "10.0.1.4", "mac": "02:00:00:00:00:01"}','2026-11-28 11:56:02.388197','2026-11-28 11:56:02.459897');
INSERT INTO "vmkiln_staging_resource" VALUES(9,'IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','a605d38c-cc4a-496e-8206-b4ae77da5383','Microsoft.Compute/virtualMachines','build-vm','deleted','{"vmSize": "Standard_D1_v2"}','2026-11-28 11:56:02.404229','2026-11-28 11:56:02.451921');
INSERT INTO "vmkiln_staging_resource" VALUES(10,'IT_rg1_web_503cfae0-e47c-5f0c-add6-5f1bf479c548','a605d38c-cc4a-496e-8206-b4ae77da5383','Microsoft.ContainerInstance/containerGroups','vmimagebuilder-build-container-a605d38c-c','deleted','{"containers": ["packer"], "memoryMiB": 384}','2026-11-28 11:56:02.416244','2026-11-28 11:56:02.443827');
INSERT INTO "vmkiln_staging_resource" VALUES(11,'IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','c36a7091-071f-45a7-b9ef-905f1699ca30','Microsoft.Network/virtualNetworks','vnet','deleted','{"subnets": {"container-group": "10.0.0.0/24", "build-vm": "10.0.1.0/24"}}','2026-11-28 11:56:03.022070','2026-11-28 11:56:03.165466');
INSERT INTO "vmkiln_staging_resource" VALUES(12,'IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','c36a7091-071f-45a7-b9ef-905f1699ca30','Microsoft.Network/networkSecurityGroups','nsg','deleted','{}','2026-11-28 11:56:03.036170','2026-11-28 11:56:03.162561');
INSERT INTO "vmkiln_staging_resource" VALUES(13,'IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','c36a7091-071f-45a7-b9ef-905f1699ca30','Microsoft.Compute/disks','build-vm-os-disk','deleted','{}','2026-11-28 11:56:03.048118','2026-11-28 11:56:03.158857');
INSERT INTO "vmkiln_staging_resource" VALUES(14,'IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','c36a7091-071f-45a7-b9ef-905f1699ca30','Microsoft.Network/networkInterfaces','build-vm-nic','deleted','{"address": "10.0.1.4", "mac": "02:00:00:00:00:01"}','2026-11-28 11:56:03.064435','2026-11-28 11:56:03.156631');
INSERT INTO "vmkiln_staging_resource" VALUES(15,'IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','c36a7091-071f-45a7-b9ef-905f1699ca30','Microsoft.Compute/virtualMachines','build-vm','deleted','{"vmSize": "Standard_D1_v2"}','2026-11-28 11:56:03.080429','2026-11-28 11:56:03.154471');
INSERT INTO "vmkiln_staging_resource" VALUES(16,'IT_rg1_broken_fc368dc6-b6ac-5565-83e5-5624653e926e','c36a7091-071f-45a7-b9ef-905f1699ca30','Microsoft.ContainerInstance/containerGroups','vmimagebuilder-build-container-c36a7091-0','deleted','{"containers": ["packer"], "memoryMiB": 384}','2026-11-28 11:56:03.092364','2026-11-28 11:56:03.147780');
INSERT INTO "vmkiln_staging_resource" VALUES(17,'IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e','Microsoft.Network/virtualNetworks','vnet','exists','{"subnets": {"container-group": "10.0.0.0/24", "build-vm": "10.0.1.0/24"}}','2026-11-28 11:56:03.343036',NULL);
INSERT INTO "vmkiln_staging_resource" VALUES(18,'IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e','Microsoft.Network/networkSecurityGroups','nsg','exists','{}','2026-11-28 11:56:03.345149',NULL);
INSERT INTO "vmkiln_staging_resource" VALUES(19,'IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e','Microsoft.Compute/disks','build-vm-os-disk','exists','{}','2026-11-28 11:56:03.349459',NULL);
INSERT INTO "vmkiln_staging_resource" VALUES(20,'IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e','Microsoft.Network/networkInterfaces','build-vm-nic','exists','{"address": "10.0.1.4", "mac": "02:00:00:00:00:01"}','2026-11-28 11:56:03.354454',NULL);
INSERT INTO "vmkiln_staging_resource" VALUES(21,'IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e','Microsoft.Compute/virtualMachines','build-vm','exists','{"vmSize": "Standard_D1_v2"}','2026-11-28 11:56:03.359269',NULL);
INSERT INTO "vmkiln_staging_resource" VALUES(22,'IT_rg1_going_8f7808b5-5947-5292-937e-ae94acc94c3a','2e7bed3f-fd98-4fd1-9cb2-1d5b5826802e','Microsoft.ContainerInstance/containerGroups','vmimagebuilder-build-container-2e7bed3f-f','exists','{"containers": ["packer"], "memoryMiB": 384}','2026-11-28 11:56:03.360683',NULL);
CREATE INDEX ix_vmkiln_run_template_id ON vmkiln_run (template_id);
CREATE INDEX vmkiln_run_by_start ON vmkiln_run (started);
CREATE INDEX vmkiln_run_by_end ON vmkiln_run (ended);
CREATE INDEX vmkiln_run_by_state ON vmkiln_run (state, started);
CREATE INDEX vmkiln_run_by_turn ON vmkiln_run (state, substr(template_id, 16, 36), started, run_id);
CREATE INDEX ix_vmkiln_host_host_id ON vmkiln_host (host_id);
CREATE INDEX vmkiln_resource_by_type ON vmkiln_resource (type, "key");
CREATE INDEX vmkiln_resource_by_group ON vmkiln_resource (subscription_id, resource_group, type, "key");
CREATE INDEX vmkiln_resource_by_parent ON vmkiln_resource (parent, type, "key");
CREATE INDEX ix_vmkiln_operation_status ON vmkiln_operation (status);
CREATE INDEX ix_vmkiln_access_token_object_id ON vmkiln_access_token (object_id);
CREATE INDEX ix_vmkiln_role_assignment_object_id ON vmkiln_role_assignment (object_id);
CREATE INDEX ix_vmkiln_reservation_boot ON vmkiln_reservation (boot);
CREATE INDEX ix_vmkiln_client_secret_app_id ON vmkiln_client_secret (app_id);
COMMIT;
