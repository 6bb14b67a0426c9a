"""Names and GUIDs of Azure's built-in roles that templates for images and virtual machines assign.

They are the same in every tenant. Source: Microsoft, "Azure built-in roles".
"""

from collections.abc import Mapping

ROLES = """
8e3af657-a8ff-443c-a75c-2fe8c4bcb635 Owner
b24988ac-6180-42a0-ab88-20f7382dd24c Contributor
acdd72a7-3385-48ef-bd42-f606fba81ae7 Reader
18d7d88d-d35e-4fb5-a5c3-7773c20a72d9 User Access Administrator
f58310d9-a9f6-439a-9e8d-f62e7b41a168 Role Based Access Control Administrator
f1a07417-d97a-45cb-824c-7a7467783830 Managed Identity Operator
e40ec5ca-96e0-45a2-b4ff-59039f2c2b59 Managed Identity Contributor
4d97b98b-1d4f-4787-a291-c67834d212e7 Network Contributor
9980e02c-c2be-4d73-94e8-173b1dc7cf3c Virtual Machine Contributor
d73bb868-a0df-4d4d-bd69-98a00b01fccb Classic Virtual Machine Contributor
1c0163c0-47e6-4577-8991-ea5c82e286e4 Virtual Machine Administrator Login
fb879df8-f326-4884-b1cf-06f3ad86be52 Virtual Machine User Login
602da2ba-a5c2-41da-b01d-5360126ab525 Virtual Machine Local User Login
a6333a3e-0164-44c3-b281-7a577aff287f Windows Admin Center Administrator Login
d24ecba3-c1f4-40fa-a7bb-4588a071e8fd VM Scanner Operator
85a2d0d9-2eba-4c9c-b355-11c2cc0788ab Compute Gallery Artifacts Publisher
cf7c76d2-98a3-4358-a134-615aa78bf44d Compute Gallery Image Reader
1ef6a3be-d0ac-425d-8c01-acb62866290b Compute Gallery Sharing Admin
959f8984-c045-4866-89c7-12bf9737be2e Data Operator for Managed Disks
3e5e47e6-65f7-47ef-90b5-e5dd4d455f24 Disk Backup Reader
60fc6e62-5479-42d4-8bf4-67625fcc2840 Disk Pool Operator
b50d9833-a0cb-478e-945f-707fcc997c13 Disk Restore Operator
7efff54f-a5b4-42b5-a1c5-5411624893ce Disk Snapshot Contributor
17d1049b-9a84-46fb-8f53-869881c3d3ab Storage Account Contributor
81a9662b-bebf-436f-a333-f67b29880f12 Storage Account Key Operator Service Role
e5e2a7ff-d759-4cd2-bb51-3152d37e2eb1 Storage Account Backup Contributor
ba92f5b4-2d11-453d-a403-e96b0029c9fe Storage Blob Data Contributor
b7e6dc6d-f1e8-4753-8033-0f276bb0955b Storage Blob Data Owner
2a2b9908-6ea1-4ae2-8e65-a410df84e7d1 Storage Blob Data Reader
db58b8e5-c6ad-4a2a-8342-4190687cbf4a Storage Blob Delegator
0c867c2a-1d8c-454a-a3db-ab2ea1bdc8bb Storage File Data SMB Share Contributor
a7264617-510b-434b-a828-9731dc254ea7 Storage File Data SMB Share Elevated Contributor
aba4ae5f-2193-4029-9191-0cb91df5e314 Storage File Data SMB Share Reader
974c5e8b-45b9-4653-ba55-5f855dd0fb88 Storage Queue Data Contributor
19e7f393-937e-4f77-808e-94535e297925 Storage Queue Data Reader
8a0f0c08-91a1-4084-bc3d-661d67233fed Storage Queue Data Message Processor
c6a89b2d-59bc-44d0-9896-0f6e12d7b80a Storage Queue Data Message Sender
0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3 Storage Table Data Contributor
76199698-9eea-4c19-bc75-cec21354c6b6 Storage Table Data Reader
c12c1c16-33a1-487b-954d-41c89c60f349 Reader and Data Access
00482a5a-887f-4fb3-b363-3b7fe8e74483 Key Vault Administrator
a4417e6f-fecd-4de8-b567-7b0420556985 Key Vault Certificates Officer
f25e0fa2-a7c8-4377-a976-54943a77a395 Key Vault Contributor
14b46e9e-c2b7-41b4-b07b-48a6ebf60603 Key Vault Crypto Officer
e147488a-f6f5-4113-8e2d-b22465e65bf6 Key Vault Crypto Service Encryption User
12338af0-0e69-4776-bea7-57ae8d297424 Key Vault Crypto User
21090545-7ca7-4776-b22c-e363652d74d2 Key Vault Reader
b86a8fe4-44ce-4948-aee5-eccb2c155cd7 Key Vault Secrets Officer
4633458b-17de-408a-b874-0445c86b69e6 Key Vault Secrets User
92aaf0da-9dab-42b6-94a3-d43ce8d16293 Log Analytics Contributor
73c42c96-874c-492b-b04d-ab87d138a893 Log Analytics Reader
749f88d5-cbae-40b8-bcfc-e573ddc772fa Monitoring Contributor
43d0d8ad-25c7-4714-9337-8ba259a9fe05 Monitoring Reader
b0d8363b-8ddd-447d-831f-62ca05bff136 Monitoring Data Reader
3913510d-42f4-4e42-8a64-420c390055eb Monitoring Metrics Publisher
e8ddcd69-c73f-4f9f-9844-4100522f16ad Workbook Contributor
b279062a-9be3-42a0-92ae-8b3cf002ec4d Workbook Reader
082f0a83-3be5-4ba1-904c-961cca79b387 Desktop Virtualization Contributor
49a72310-ab8d-41df-bbb0-79b649203868 Desktop Virtualization Reader
1d18fff3-a72a-46b5-b4a9-0b38a3cd7e63 Desktop Virtualization User
489581de-a3bd-480d-9518-53dea7416b33 Desktop Virtualization Power On Contributor
40c5ff49-9181-41f8-ae61-143b0e78555e Desktop Virtualization Power On Off Contributor
a959dbd1-f747-45e3-8ba6-dd80f235f97c Desktop Virtualization Virtual Machine Contributor
e307426c-f9b6-4e81-87de-d99efb3c32bc Desktop Virtualization Host Pool Contributor
ceadfde2-b300-400a-ab7b-6143895aa822 Desktop Virtualization Host Pool Reader
86240b0e-9422-4c43-887b-b61143f32ba8 Desktop Virtualization Application Group Contributor
aebf23d0-b568-4e86-b8f9-fe83a2c6ab55 Desktop Virtualization Application Group Reader
21efdde3-836f-432b-bf3d-3e8e734d4b2b Desktop Virtualization Workspace Contributor
0fa44ee9-7a7d-466b-9bb2-2bf446b1204d Desktop Virtualization Workspace Reader
ea4bfff8-7fb4-485a-aadd-d4129a0ffaa6 Desktop Virtualization User Session Operator
2ad6aaab-ead9-4eaa-8ac5-da422f562408 Desktop Virtualization Session Host Operator
76283e04-6283-4c54-8f91-bcf1374a3c64 DevTest Labs User
45d50f46-0b78-4001-a660-4198cbe8cd05 DevCenter Dev Box User
331c37c6-af14-46d9-b9f4-e1909e1b95a0 DevCenter Project Admin
f353d9bd-d4a6-484e-a77a-8050b599b867 Automation Contributor
d3881f73-407a-4167-8283-e981cbba0404 Automation Operator
4fe576fe-1146-4730-92eb-48519fa6bf9f Automation Job Operator
5fb5aef8-1081-4b8e-bb16-9d5d0385bab5 Automation Runbook Operator
87a39d53-fc1b-424a-814c-f7e04687dc9e Logic App Contributor
515c2055-d9d4-4321-b1b9-bd0c9a0f79fe Logic App Operator
1e241071-0855-49ea-94dc-649edcd759de EventGrid Contributor
428e0ff0-5e57-4d9c-a221-2c70d0e0a443 EventGrid EventSubscription Contributor
d5a91429-5739-47e2-a06b-3470a27159e7 EventGrid Data Sender
090c5cfd-751d-490a-894a-3ce6f1109419 Azure Service Bus Data Owner
4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0 Azure Service Bus Data Receiver
69a216fc-b8fb-44d8-bc22-1f3c2cd27a39 Azure Service Bus Data Sender
7f951dda-4ed3-4680-a7ca-43fe172d538d AcrPull
8311e382-0749-4cb8-b61a-304f252e45ec AcrPush
c2f4ef07-c644-48eb-af81-4b1b4947fb11 AcrDelete
befefa01-2a29-4197-83a8-272ff33ce314 DNS Zone Contributor
b12aa53e-6015-4669-85d0-8515ebb3ae7f Private DNS Zone Contributor
0f2ebee7-ffd4-4fc0-b3b7-664099fdad5d DNS Resolver Contributor
36243c78-bf99-498c-9df9-86d9f8d28608 Resource Policy Contributor
4a9ae827-6dc8-4573-8ac7-8239d42aa03f Tag Contributor
088ab73d-1256-47ae-bea9-9de8e7131f31 Guest Configuration Resource Contributor
cd08ab90-6b14-449c-ad9a-8f8e549482c6 Scheduled Patching Contributor
1c9b6475-caf0-4164-b5a1-2142a7116f4b Template Spec Contributor
641177b8-a67a-45b9-a033-47bc880bb21e Managed Application Contributor Role
c7393b34-138c-406f-901b-d8cf2b17e6ae Managed Application Operator Role
516239f1-63e1-4d78-a4de-a74fb236a071 App Configuration Data Reader
5ae67dd6-50cb-40e7-96ff-dc2bfa4b606b App Configuration Data Owner
5e467623-bb1f-42f4-a55d-6e525e11384b Backup Contributor
00c29273-979b-4161-815c-10b084fb9324 Backup Operator
a795c7a0-d4a2-40c1-ae25-d81f01202912 Backup Reader
39bc4728-0917-49c7-9d2c-d95423bc2eb4 Security Reader
fb1c8493-542b-48eb-b624-b4c8fea62acd Security Admin
"""
NAMES: Mapping[str, str] = {line[:36]: line[37:] for line in ROLES.strip().splitlines()}  # by GUID
GUIDS: Mapping[str, str] = {name: guid for guid, name in NAMES.items()}
