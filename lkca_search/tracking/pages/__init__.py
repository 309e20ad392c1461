"""Views of searches on the pages of MLflow. May import `tracking`, and all below."""
