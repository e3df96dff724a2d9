terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = "~> 2.38"
    }
  }
}

provider "aws" {
  region = var.region
}

provider "kubernetes" {}

resource "kubernetes_namespace_v1" "shop" {
  metadata {
    name = "shop-${var.environment}"

    labels = {
      "app.kubernetes.io/part-of"          = "shop"
      "pod-security.kubernetes.io/enforce" = "restricted"
    }
  }
}

resource "aws_s3_bucket" "reports" {
  bucket = "shop-${var.environment}-reports"
}

resource "aws_s3_bucket_lifecycle_configuration" "reports" {
  bucket = aws_s3_bucket.reports.id

  rule {
    id     = "expire"
    status = "Enabled"

    filter {}

    expiration {
      days = var.report_days
    }
  }
}
