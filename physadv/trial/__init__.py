"""A guided trial before a camera: the plan, its windows one after another, what they say."""
