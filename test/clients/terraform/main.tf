# Everything that an image's life touches, as the AWS provider asks for it.
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "endpoint" { type = string }
variable "share" { type = string }
variable "public_key" { type = string }

# Nothing here but the addresses: the provider is told nothing about what it need not look at.
provider "aws" {
  region = "us-east-1"
  endpoints {
    ec2 = var.endpoint
    iam = var.endpoint
    ssm = var.endpoint
    sts = var.endpoint
  }
}

data "aws_caller_identity" "me" {}
data "aws_availability_zones" "all" {}
data "aws_vpc" "default" { default = true }
data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}

data "aws_ami" "tiny" {
  most_recent = true
  owners      = ["ingot"]
  filter {
    name   = "name"
    values = ["ingot/*"]
  }
}

resource "aws_key_pair" "key" {
  key_name   = "terraform"
  public_key = var.public_key
}

resource "aws_security_group" "ssh" {
  name   = "terraform"
  vpc_id = data.aws_vpc.default.id
  ingress {
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_iam_role" "builder" {
  name = "terraform-builder"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
  tags = { by = "terraform" }
}

resource "aws_iam_role_policy" "inline" {
  name   = "look"
  role   = aws_iam_role.builder.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "ec2:Describe*", Resource = "*" }] })
}

resource "aws_iam_policy" "managed" {
  name   = "terraform-images"
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "ec2:CreateImage", Resource = "*" }] })
}

resource "aws_iam_role_policy_attachment" "managed" {
  role       = aws_iam_role.builder.name
  policy_arn = aws_iam_policy.managed.arn
}

resource "aws_iam_instance_profile" "builder" {
  name = "terraform-builder"
  role = aws_iam_role.builder.name
}

resource "aws_instance" "builder" {
  ami                    = data.aws_ami.tiny.id
  instance_type          = "t3.nano"
  key_name               = aws_key_pair.key.key_name
  vpc_security_group_ids = [aws_security_group.ssh.id]
  iam_instance_profile   = aws_iam_instance_profile.builder.name
  user_data              = "#!/bin/sh\necho told > /etc/told\n"
  metadata_options { http_tokens = "required" }
  root_block_device {
    volume_size = 2
    tags        = { Name = "root" }
  }
  tags = { Name = "terraform" }

  # The provisioners' way in is SSH in Go and the older scp.
  connection {
    host        = self.public_ip
    user        = "ec2-user"
    private_key = file("key")
  }
  provisioner "file" {
    content     = "from terraform\n"
    destination = "/tmp/terraformed"
  }
  provisioner "remote-exec" {
    inline = ["sudo cp /tmp/terraformed /etc/terraformed", "sync"]
  }
}

resource "aws_ebs_volume" "data" {
  availability_zone = aws_instance.builder.availability_zone
  size              = 1
  type              = "gp3"
  tags              = { Name = "data" }
}

resource "aws_volume_attachment" "data" {
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data.id
  instance_id = aws_instance.builder.id
}

resource "aws_ami_from_instance" "captured" {
  name                    = "terraform-captured"
  source_instance_id      = aws_instance.builder.id
  snapshot_without_reboot = true
  tags                    = { by = "terraform" }
  depends_on              = [aws_volume_attachment.data]
}

resource "aws_ami_copy" "copy" {
  name              = "terraform-copy"
  source_ami_id     = aws_ami_from_instance.captured.id
  source_ami_region = "us-east-1"
}

resource "aws_ami_launch_permission" "share" {
  image_id   = aws_ami_copy.copy.id
  account_id = var.share
}

resource "aws_ebs_snapshot" "data" {
  volume_id = aws_ebs_volume.data.id
  tags      = { Name = "data" }
}

resource "aws_snapshot_create_volume_permission" "share" {
  snapshot_id = aws_ebs_snapshot.data.id
  account_id  = var.share
}

resource "aws_ami" "registered" {
  name                = "terraform-registered"
  virtualization_type = "hvm"
  root_device_name    = "/dev/xvda"
  ena_support         = true
  ebs_block_device {
    device_name = "/dev/xvda"
    snapshot_id = tolist(aws_ami_from_instance.captured.ebs_block_device)[0].snapshot_id
    volume_size = 2
  }
}

resource "aws_ssm_parameter" "current" {
  name      = "/images/web"
  type      = "String"
  data_type = "aws:ec2:image"
  value     = aws_ami_copy.copy.id
}

data "aws_ssm_parameter" "current" {
  name = aws_ssm_parameter.current.name
}

output "account" { value = data.aws_caller_identity.me.account_id }
output "address" { value = aws_instance.builder.public_ip }
output "copy" { value = aws_ami_copy.copy.id }
output "current" { value = nonsensitive(data.aws_ssm_parameter.current.value) }
