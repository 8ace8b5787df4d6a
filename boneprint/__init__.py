"""boneprint: which bone in our database is this?"""
